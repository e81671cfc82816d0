package kubernetes

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// deploy/kubernetes/tieback runs the pod of the chart's PodTemplate. A program in the place of kubectl answers with the template as
// kubectl -o jsonpath prints it, and keeps the arguments of kubectl run.
func TestCommandLineScript(t *testing.T) {
	for _, name := range []string{"local", "other names", "openshift"} {
		v := variantOf(t, name)
		template := of[*corev1.PodTemplate](build(t, v))["command"].Template
		text, err := json.Marshal(template)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "template"), text)
		write(t, filepath.Join(dir, "image"), []byte(template.Spec.Containers[0].Image))
		write(t, filepath.Join(dir, "kubectl"), []byte(`#!/usr/bin/env bash
case " $* " in
*" -n `+v.namespace+` get podtemplate `+v.prefix+`-command -o jsonpath={.template} "*) cat `+dir+`/template ;;
*" -n `+v.namespace+` get podtemplate `+v.prefix+`-command -o jsonpath={.template.spec.containers[0].image} "*) cat `+dir+`/image ;;
*" -n `+v.namespace+` run "*) printf '%s\n' "$@" >`+dir+`/arguments ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
`))
		if err := os.Chmod(filepath.Join(dir, "kubectl"), 0o700); err != nil { //nolint:gosec // it is executed
			t.Fatal(err)
		}
		c := exec.Command(manifests+"/tieback", "dead", "list")
		c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "NAMESPACE="+v.namespace, "NAME="+v.prefix)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "arguments"))
		if err != nil {
			t.Fatal(err)
		}
		args := strings.Split(strings.TrimSpace(string(raw)), "\n")
		if i := slices.Index(args, "--"); i < 0 || !slices.Equal(args[i:], []string{"--", "dead", "list"}) || !slices.Contains(args, "--image="+template.Spec.Containers[0].Image) {
			t.Errorf("arguments: %q", args)
		}
		for _, a := range args {
			overrides, ok := strings.CutPrefix(a, "--overrides=")
			if !ok {
				continue
			}
			var whole map[string]any
			if err := json.Unmarshal([]byte(overrides), &whole); err != nil {
				t.Fatalf("%v: %s", err, overrides)
			}
			whole["kind"] = "Pod" // kubectl run adds it
			again, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			// kubectl run gives the container the name of the pod, so that --overrides and the arguments are for one container.
			if pod := decode(t, again).typed.(*corev1.Pod); !slices.Contains(args, pod.Spec.Containers[0].Name) || pod.Labels["tieback/broker"] != "yes" {
				t.Errorf("overrides: %s", overrides)
			}
		}
	}
}

// With INTO, deploy/kubernetes/secrets writes the entries of a store instead.
func TestSecretsScriptWritesEntries(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{"companies.yaml": "companies:\n\t- \"a\\b\"\n", "acme.secret": "ü\n"}
	for file, text := range map[string]string{
		"keys/users.conf": "{}", "keys/export.nk": "SU\n", "keys/restore.nk": "SU\n", "companies/webhooks/webhooks.json": "{}\n", "companies/console/access.yaml": "tokens: []\n",
		"companies/companies.yaml": want["companies.yaml"], "companies/acme.secret": want["acme.secret"],
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, file), []byte(text))
	}
	script, err := filepath.Abs(manifests + "/secrets")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "keys", "companies")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "INTO=entries", "NAME=blue")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := os.ReadDir(filepath.Join(dir, "entries"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "blue-companies blue-console blue-nats-users blue-nkey-export blue-webhooks" {
		t.Errorf("entries: %s", got)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "entries", "blue-companies"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(raw, &got); err != nil || !maps.Equal(got, want) {
		t.Errorf("blue-companies has %q, %v; want %q", got, err, want)
	}
}

// deploy/kubernetes/secrets writes no secret if a file is missing, and never the key restore.
func TestSecretsScript(t *testing.T) {
	full := []string{"keys/users.conf", "keys/export.nk", "keys/restore.nk", "companies/companies.yaml", "companies/webhooks/webhooks.json", "companies/console/access.yaml"}
	without := func(file string) []string {
		return slices.DeleteFunc(slices.Clone(full), func(f string) bool { return f == file })
	}
	for _, c := range []struct {
		name  string
		args  []string
		files []string
		want  string // the secrets, or a part of the error
	}{
		{"all", []string{"keys", "companies"}, full, "tieback-nkey-export tieback-nats-users tieback-companies tieback-webhooks tieback-console"},
		{"keys", []string{"keys"}, full, "tieback-nkey-export tieback-nats-users"},
		{"companies", []string{"-", "companies"}, full, "tieback-companies tieback-webhooks tieback-console"},
		{"no keys", []string{"keys", "companies"}, without("keys/users.conf"), "keys has no users.conf"},
		{"no setup", []string{"keys", "companies"}, without("companies/webhooks/webhooks.json"), "companies has no webhooks/webhooks.json"},
		{"no access", []string{"-", "companies"}, without("companies/console/access.yaml"), "companies has no console/access.yaml"},
		{"nothing", []string{"-"}, full, "name the folder of the companies"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range c.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, file), nil)
			}
			write(t, filepath.Join(dir, "kubectl"), []byte("#!/usr/bin/env bash\nif [[ $4 == secret ]]; then echo $6 >>"+dir+"/secrets; else cat >/dev/null; fi\n"))
			if err := os.Chmod(filepath.Join(dir, "kubectl"), 0o700); err != nil { //nolint:gosec // it is executed
				t.Fatal(err)
			}
			script, err := filepath.Abs(manifests + "/secrets")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(script, c.args...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, failed := cmd.CombinedOutput()
			written, err := os.ReadFile(filepath.Join(dir, "secrets"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if failed == nil && strings.Join(strings.Fields(string(written)), " ") == c.want {
				return
			}
			if failed == nil || len(written) > 0 || !strings.Contains(string(out), c.want) {
				t.Errorf("wrote %q, printed %q, %v; want %q", written, out, failed, c.want)
			}
		})
	}
}
