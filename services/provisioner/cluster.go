package provisioner

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// cluster keeps the broker's keys in Secrets of a Kubernetes namespace:
//
//	NAME-keys            the folder of the keys, and the last rotation as an annotation
//	NAME-nats-users      the broker's users file
//	NAME-nkey-SERVICE    the seed of a service
//
// The first is the source of the others. It is written as one object, so an interrupted run leaves a whole step of a rotation, and
// the next run writes the others again. Each write of it increments a generation, and the others have the generation that they are
// of, so that of two runs the one with the older keys fails.
type cluster struct {
	client    *http.Client
	secrets   string // URL of the namespace's secrets
	token     string // file; the kubelet renews it
	name      string
	folder    secret // NAME-keys as last read or written
	installed bool   // keys existed before this run
}

// secret is a Secret of the Kubernetes API. A nil value removes an entry.
type secret struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   secretMetadata    `json:"metadata"`
	Data       map[string][]byte `json:"data"`
}

type secretMetadata struct {
	Name            string            `json:"name"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

const (
	rotationAnnotation   = "tieback/rotation"
	generationAnnotation = "tieback/generation"
)

func (s secret) generation() int {
	n, _ := strconv.Atoi(s.Metadata.Annotations[generationAnnotation]) // 0: not written by this command
	return n
}

// account is the folder of the pod's ServiceAccount.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

func clusterKeys(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("provisioner cluster-keys", flag.ContinueOnError)
	rotation := f.String("rotation", "", "replace all keys, unless the last rotation had this name")
	backup := f.Bool("backup", false, "create the keys backup and restore too")
	pause := f.Duration("pause", 3*time.Minute, "time after which the pods have a changed secret")
	if err := parse(f, args, "NAME"); err != nil {
		return err
	}
	c, err := inCluster(getenv, account, f.Arg(0))
	if err != nil {
		return err
	}
	return c.keys(ctx, *rotation, *backup, *pause, out)
}

// inCluster returns the cluster in which the process runs. folder is that of the pod's ServiceAccount.
func inCluster(getenv func(string) string, folder, name string) (*cluster, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set; run this command in a pod, or use `provisioner keys DIR`")
	}
	namespace, err := os.ReadFile(filepath.Join(folder, "namespace"))
	if err != nil {
		return nil, fmt.Errorf("%w; the pod needs the token of its ServiceAccount", err)
	}
	ca, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(folder, "ca.crt"))
	}
	return &cluster{
		client:  &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
		secrets: "https://" + net.JoinHostPort(host, port) + "/api/v1/namespaces/" + string(namespace) + "/secrets",
		token:   filepath.Join(folder, "token"), name: name,
	}, nil
}

// keys creates the keys that are missing and the users file of this version. If rotation is neither empty nor the last one, it
// also replaces all keys, and waits between the steps until the broker and the services have the changed secrets.
func (c *cluster) keys(ctx context.Context, rotation string, backup bool, pause time.Duration, out io.Writer) error {
	dir, err := os.MkdirTemp("", "keys-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	k := keyFolder{dir: dir, users: filepath.Join(dir, "users.conf"), backup: backup, mode: 0o600, uid: -1, gid: -1}
	if err := c.load(ctx, k); err != nil {
		return err
	}
	last := c.folder.Metadata.Annotations[rotationAnnotation]
	if !c.installed {
		last = rotation // the keys are new
	}
	step := func(what string, change func(io.Writer) error, rotation string) error {
		if err := change(io.Discard); err != nil { // the texts are for a person who runs `provisioner keys`
			return err
		}
		if err := k.create(io.Discard); err != nil {
			return err
		}
		if err := c.save(ctx, k, rotation); err != nil {
			return err
		}
		fmt.Fprintln(out, what)
		return nil
	}
	if err := step("the secrets have a key of each service, and its permissions", func(io.Writer) error { return nil }, last); err != nil || rotation == "" || rotation == last {
		return err
	}
	if !k.hasAny(next) && !k.hasAny(old) {
		if err := step("created the next keys; waiting until the broker accepts them", k.rotate, last); err != nil {
			return err
		}
	}
	if err := wait(ctx, pause); err != nil {
		return err
	}
	for k.hasAny(next) {
		if err := step("switched to the next keys; waiting until the services have them", k.rotate, last); err != nil {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
	return step("the rotation "+rotation+" has ended: the broker accepts only the new keys", k.retire, rotation)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// hasAny reports whether a service has a key file with the suffix.
func (k keyFolder) hasAny(suffix string) bool {
	for _, service := range topology.Users() {
		if k.has(service, suffix) {
			return true
		}
	}
	return false
}

// load writes the keys of the cluster to the folder. Without NAME-keys it takes the services' seeds, which somebody stored without
// this command.
func (c *cluster) load(ctx context.Context, k keyFolder) error {
	folder, err := c.get(ctx, "keys")
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	if folder != nil {
		c.folder, files = *folder, folder.Data
	} else {
		for _, service := range slices.Concat(topology.Users(), topology.CopyUsers()) {
			s, err := c.get(ctx, "nkey-"+service)
			if err != nil {
				return err
			}
			if s != nil && s.Data[service+current] != nil {
				files[service+current] = s.Data[service+current]
			}
		}
	}
	c.installed = len(files) > 0
	for name, content := range files {
		if filepath.Base(name) != name {
			return fmt.Errorf("the secret %s-keys has the entry %q, which is not a file name; remove it", c.name, name)
		}
		if err := os.WriteFile(filepath.Join(k.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// save stores the folder in NAME-keys, and then the users file and the seeds in the secrets that the broker and the services mount.
// It writes only what differs.
func (c *cluster) save(ctx context.Context, k keyFolder, rotation string) error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(k.dir, e.Name())); err != nil {
			return err
		}
	}
	folder := secret{Metadata: c.folder.Metadata, Data: maps.Clone(files)}
	folder.Metadata.Name, folder.Metadata.Annotations = c.name+"-keys", map[string]string{
		rotationAnnotation: rotation, generationAnnotation: strconv.Itoa(c.folder.generation() + 1),
	}
	for name := range c.folder.Data {
		if files[name] == nil {
			folder.Data[name] = nil // removes it
		}
	}
	if c.folder.Metadata.ResourceVersion == "" || !maps.EqualFunc(c.folder.Data, files, bytes.Equal) || c.folder.Metadata.Annotations[rotationAnnotation] != rotation {
		written, err := c.write(ctx, folder)
		if err != nil {
			return err
		}
		c.folder = *written
	}
	if err := c.update(ctx, "nats-users", "users.conf", files["users.conf"]); err != nil {
		return err
	}
	for _, service := range k.services() {
		if err := c.update(ctx, "nkey-"+service, service+current, files[service+current]); err != nil {
			return err
		}
	}
	return nil
}

// update sets an entry of a secret, if it differs or is of an older generation.
func (c *cluster) update(ctx context.Context, name, file string, content []byte) error {
	s, err := c.get(ctx, name)
	if err != nil {
		return err
	}
	if s == nil {
		s = &secret{Metadata: secretMetadata{Name: c.name + "-" + name}}
	}
	generation := c.folder.generation()
	switch have := s.generation(); {
	case have > generation:
		return fmt.Errorf("another run has written newer keys to the secret %s; run the command again", s.Metadata.Name)
	case have == generation && bytes.Equal(s.Data[file], content):
		return nil
	}
	s.Metadata.Annotations, s.Data = map[string]string{generationAnnotation: strconv.Itoa(generation)}, map[string][]byte{file: content}
	_, err = c.write(ctx, *s)
	return err
}

// get returns a secret, or nil if it does not exist.
func (c *cluster) get(ctx context.Context, name string) (*secret, error) {
	s, err := c.call(ctx, http.MethodGet, "/"+c.name+"-"+name, "", nil)
	var status *statusError
	if errors.As(err, &status) && status.code == http.StatusNotFound {
		return nil, nil
	}
	return s, err
}

// write creates a secret that has no resource version. Otherwise it changes the entries of s, and fails if somebody else changed
// the secret since it was read.
func (c *cluster) write(ctx context.Context, s secret) (*secret, error) {
	s.APIVersion, s.Kind = "v1", "Secret"
	if s.Metadata.ResourceVersion == "" {
		return c.call(ctx, http.MethodPost, "", "application/json", s)
	}
	return c.call(ctx, http.MethodPatch, "/"+s.Metadata.Name, "application/merge-patch+json", s)
}

// statusError is an answer of the API other than success. Its text has no secret.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

func (c *cluster) call(ctx context.Context, method, path, contentType string, body any) (*secret, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.secrets+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(c.token)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		var status struct{ Message string }
		_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&status) // the code is enough
		return nil, &statusError{code: resp.StatusCode, text: fmt.Sprintf("%s secrets%s: %s: %s", method, path, resp.Status, status.Message)}
	}
	var s secret
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(&s); err != nil {
		return nil, fmt.Errorf("%s secrets%s: %w", method, path, err)
	}
	return &s, nil
}
