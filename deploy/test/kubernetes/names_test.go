package kubernetes

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// TestServiceNames checks that a service has one name: of its command's folder, its program, its image and its service
// in docker-compose.yml, its workload and its account in Kubernetes, and, for a stage, its durable consumer. The label
// "service" of the metrics is the name of the program.
func TestServiceNames(t *testing.T) {
	const root = "../../../"
	commands, err := filepath.Glob(root + "services/*/cmd/*")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, dir := range commands {
		name, folder := filepath.Base(dir), filepath.Base(filepath.Dir(filepath.Dir(dir)))
		if folder != name && folder != "worker" {
			t.Errorf("%s: the folder of the service is %s", dir, folder)
		}
		if folder != "sandbox" { // not a service of the pipeline
			names = append(names, name)
		}
	}
	if len(names) < 10 {
		t.Fatalf("only %d commands found: %v", len(names), names)
	}

	raw, err := os.ReadFile(root + "docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image         string `json:"image"`
			ContainerName string `json:"container_name"`
			Build         struct {
				Args map[string]string `json:"args"`
			} `json:"build"`
		} `json:"services"`
	}
	if err := yaml.Unmarshal(raw, &compose); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		s, ok := compose.Services[name]
		if image, _, _ := strings.Cut(s.Image, ":"); !ok || image != "tieback-"+name || s.Build.Args["SERVICE"] != name || s.ContainerName != "" && !strings.HasSuffix(s.ContainerName, "-"+name) {
			t.Errorf("docker-compose.yml: service %s is %+v", name, s)
		}
		main := filepath.Join(root, "services", name, "cmd", name, "main.go")
		if _, err := os.Stat(main); err != nil {
			main = filepath.Join(root, "services", "worker", "cmd", name, "main.go")
		}
		source, err := os.ReadFile(main)
		if err != nil {
			t.Fatal(err)
		}
		// The provisioner takes its name from its usage text, as it serves no metrics.
		if name != "provisioner" && !strings.Contains(string(source), `"`+name+`"`) {
			t.Errorf("%s: the program's name is not %q", main, name)
		}
	}
	for _, d := range topology.Durables() {
		if !slices.Contains(names, d.Name) {
			t.Errorf("no service has the name of the consumer %s", d.Name)
		}
	}

	each(t, func(t *testing.T, v variant, b built) {
		var workloads []string
		for _, p := range pods(t, b) {
			if !p.service() && p.name != "provisioner" || p.name == "nats" {
				continue
			}
			workloads = append(workloads, p.name)
			image, _, _ := strings.Cut(filepath.Base(p.spec.Containers[0].Image), ":")
			if image, _, _ = strings.Cut(image, "@"); strings.TrimPrefix(image, "tieback-") != p.name {
				t.Errorf("%s runs the image %s", p.name, p.spec.Containers[0].Image)
			}
			if account := p.spec.ServiceAccountName; account != p.prefix+p.name {
				t.Errorf("%s has the service account %q", p.name, account)
			}
		}
		for _, name := range names {
			if (name != "console" || v.with("console")) && !slices.Contains(workloads, name) {
				t.Errorf("no workload %s among %v", name, workloads)
			}
		}
	})
}
