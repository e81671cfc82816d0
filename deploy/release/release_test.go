package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestChangelogHasVersion(t *testing.T) {
	for text, want := range map[string]string{
		"# Changelog\n\n## [Unreleased]\n\n- a\n":                                          "no heading ## [1.2.3]",
		"# Changelog\n\n## [1.2.30]\n\n- a\n":                                              "no heading ## [1.2.3]",
		"# Changelog\n\n## [1.2.3] - 2026-12-01\n\n## [1.2.2]\n\n- a\n":                    "says nothing under ## [1.2.3]",
		"# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n\n- a\n":               "",
		"# Changelog\n\n## [Unreleased]\n\n## [1.2.3]\n\n### Added\n\n- a\n\n## [1.2.2]\n": "",
	} {
		err := inChangelog(text, "1.2.3")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// repositoryOf returns a repository with one commit.
func repositoryOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "CHANGELOG.md"), "\n## [1.2.3]\n\n- a\n")
	write(t, filepath.Join(dir, "deploy/docker/Dockerfile"), "ARG GO_IMAGE=golang:"+strings.TrimPrefix(runtime.Version(), "go")+"@sha256:0\n")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "first"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}

func TestPrepare(t *testing.T) {
	dir := repositoryOf(t)
	prepare := func(version string, dirty bool) (*release, string) {
		r := &release{root: dir, version: version}
		if err := r.prepare(t.Context(), dirty); err != nil {
			return r, err.Error()
		}
		return r, ""
	}
	r, err := prepare("1.2.3", false)
	if err != "" || len(r.commit) != 40 || r.time.IsZero() {
		t.Errorf("%q, commit %q, time %v", err, r.commit, r.time)
	}
	for _, version := range []string{"", "v1.2.3", "1.2", "1.2.3 "} {
		if _, err := prepare(version, false); !strings.Contains(err, "VERSION=X.Y.Z") {
			t.Errorf("version %q: %q", version, err)
		}
	}
	if _, err := prepare("1.2.4", false); !strings.Contains(err, "no heading ## [1.2.4]") {
		t.Errorf("a version that the changelog lacks: %q", err)
	}
	write(t, filepath.Join(dir, "new"), "")
	if _, err := prepare("1.2.3", false); !strings.Contains(err, "uncommitted changes") || !strings.Contains(err, "new") {
		t.Errorf("uncommitted changes: %q", err)
	}
	if r, err := prepare("1.2.4", true); err != "" || !strings.HasSuffix(r.commit, "+changes") {
		t.Errorf("uncommitted changes, on request: %q, commit %q", err, r.commit)
	}
	write(t, filepath.Join(dir, "deploy/docker/Dockerfile"), "ARG GO_IMAGE=golang:1.0.0@sha256:0\n")
	if _, err := prepare("1.2.3", true); !strings.Contains(err, "GOTOOLCHAIN=go1.0.0") {
		t.Errorf("another compiler: %q", err)
	}
}

// packed packs the same binaries into a release.
func packed(t *testing.T) *release {
	t.Helper()
	r := &release{out: t.TempDir(), version: "1.2.3", commit: strings.Repeat("0", 40), time: time.Unix(1e9, 0).UTC(), targets: []string{"linux/amd64"}, log: func(string, ...any) {}}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("no Go binary without /proc")
	}
	bin := t.TempDir()
	for _, name := range []string{"ingest", "provisioner"} {
		write(t, filepath.Join(bin, name), string(self))
	}
	for _, system := range []string{"linux", "windows"} {
		if err := r.pack(bin, system, "amd64"); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.images(map[string]string{"amd64": bin, "arm64": bin}); err != nil {
		t.Fatal(err)
	}
	if err := r.attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSameInputsGiveSameFiles(t *testing.T) {
	a, b := packed(t), packed(t)
	if err := compare(a.out, b.out); err != nil {
		t.Error(err)
	}
	raw, err := os.ReadFile(filepath.Join(a.out, sums))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  images/ingest/index.json\n", "  images/provisioner/index.json\n", "  provenance.json\n", "  tieback_1.2.3_linux_amd64.cdx.json\n",
		"  tieback_1.2.3_linux_amd64.tar.gz\n", "  tieback_1.2.3_windows_amd64.zip\n",
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("SHA256SUMS lacks %q:\n%s", want, raw)
		}
	}
	write(t, filepath.Join(b.out, "tieback_1.2.3_windows_amd64.zip"), "another")
	write(t, filepath.Join(b.out, "more"), "")
	if err := compare(a.out, b.out); err == nil || !strings.Contains(err.Error(), "windows_amd64.zip differs") || !strings.Contains(err.Error(), "more differs") {
		t.Errorf("a difference: %v", err)
	}
}

// An image is valid, and runs like that of deploy/docker/Dockerfile.
func TestImage(t *testing.T) {
	r := packed(t)
	dockerfile, err := os.ReadFile("../docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(r.out, "images/provisioner"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c := file.Config
		for _, line := range []string{
			"ENV " + strings.Join(c.Env[1:], " ") + "\n", "USER " + c.User + "\n", fmt.Sprintf("ENTRYPOINT [%q]\n", c.Entrypoint[0]),
			"org.opencontainers.image.source=\"" + c.Labels["org.opencontainers.image.source"] + "\"",
		} {
			if !strings.Contains(string(dockerfile)+"\n", line) {
				t.Errorf("%s: deploy/docker/Dockerfile lacks %q", m.Platform, line)
			}
		}
		if c.Labels["org.opencontainers.image.version"] != "1.2.3" || file.Architecture != m.Platform.Architecture || len(file.RootFS.DiffIDs) != 3 {
			t.Errorf("%s: %+v", m.Platform, file)
		}
	}
	if got := strings.Join(platforms, " "); got != "linux/amd64 linux/arm64" {
		t.Errorf("platforms: %s", got)
	}
}

func TestBase(t *testing.T) {
	pool := x509.NewCertPool()
	for _, f := range base() {
		if f.name == "etc/ssl/certs/ca-certificates.crt" && (!pool.AppendCertsFromPEM(f.content) || strings.Count(string(f.content), "BEGIN CERTIFICATE") < 50) {
			t.Error("the certificates can't be read")
		}
	}
}

func TestProvenance(t *testing.T) {
	r := packed(t)
	raw, err := os.ReadFile(filepath.Join(r.out, "provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Type          string `json:"_type"`
		PredicateType string
		Subject       []struct {
			Name   string
			Digest map[string]string
		}
		Predicate struct {
			BuildDefinition struct {
				InternalParameters   map[string]string
				ResolvedDependencies []struct{ Digest map[string]string }
			}
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" || len(s.Subject) != 6 {
		t.Errorf("%s", raw)
	}
	for _, f := range s.Subject {
		if sum, err := sumOf(filepath.Join(r.out, f.Name)); err != nil || sum != f.Digest["sha256"] {
			t.Errorf("%s: %s, %v", f.Name, sum, err)
		}
	}
	d := s.Predicate.BuildDefinition
	if len(d.ResolvedDependencies) != 1 || d.ResolvedDependencies[0].Digest["gitCommit"] != r.commit || d.InternalParameters["go"] != runtime.Version() {
		t.Errorf("%+v", d)
	}
}

func TestSignedProvenance(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	pemOf := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	key := filepath.Join(t.TempDir(), "key.pem")
	write(t, key, pemOf("PRIVATE KEY", der, err))
	r := &release{out: t.TempDir(), key: key}
	if err := r.sign(context.Background(), []byte("the statement")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(r.out, "provenance.dsse.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e dsse.Envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatal(err)
	}
	der, err = x509.MarshalPKIXPublicKey(public)
	loaded, err := signerverifier.LoadKey([]byte(pemOf("PUBLIC KEY", der, err)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := signerverifier.NewED25519SignerVerifierFromSSLibKey(loaded)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := dsse.NewEnvelopeVerifier(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := ev.VerifyAndDecode(t.Context(), &e); err != nil || string(body) != "the statement" {
		t.Errorf("%q, %v", body, err)
	}
}
