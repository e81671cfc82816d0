package provisioner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// The files of a service's keys at each step of a rotation:
//
//	           files           broker accepts     services use
//	           .nk             .nk                .nk
//	--rotate   .nk .next       .nk .next          .nk
//	--rotate   .nk .old        .nk .old           .nk, the former .next, from their next connect
//	--retire   .nk             .nk                .nk
//
// Reload the broker after each step, and give the services their new seeds before --retire. Then the broker accepts the
// key of every service at all times.
const (
	current = ".nk"   // the seed
	next    = ".next" // the seed of the next key
	old     = ".old"  // the previous public key
)

// file returns the path of a service's key.
func (p place) file(service, suffix string) string { return filepath.Join(p.dir, service+suffix) }

// publicKeys returns the keys of a service that the broker accepts, the current one first.
func (p place) publicKeys(service string) ([]string, error) {
	key, err := publicOf(p.file(service, current))
	if err != nil {
		return nil, err
	}
	all := []string{key}
	switch key, err := publicOf(p.file(service, next)); {
	case err == nil:
		all = append(all, key)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	switch raw, err := os.ReadFile(p.file(service, old)); {
	case err == nil:
		all = append(all, string(bytes.TrimSpace(raw)))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return all, nil
}

// rotate creates the next keys, or switches to them if the broker's users file has all of them.
func (p place) rotate(out io.Writer) error {
	ready, err := p.ready()
	if err != nil {
		return err
	}
	for _, service := range topology.Users() {
		if !ready {
			if p.has(service, old) {
				return fmt.Errorf("%s: the key before the last rotation is still accepted; run `provisioner keys --retire` first", service)
			}
			if _, err := p.seed(p.file(service, next)); err != nil {
				return err
			}
			continue
		}
		if err := p.use(service); err != nil {
			return err
		}
	}
	if ready {
		fmt.Fprintln(out, "switched to the next keys: give them to the services, then run `provisioner keys --retire`")
		return nil
	}
	fmt.Fprintln(out, "created the next keys: reload the broker, then run `provisioner keys --rotate` again")
	return nil
}

// ready reports whether there are next keys and the broker's users file has all of them.
func (p place) ready() (bool, error) {
	conf, err := os.ReadFile(p.users)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	some := false
	for _, service := range topology.Users() {
		key, err := publicOf(p.file(service, next))
		switch {
		case err == nil && !bytes.Contains(conf, []byte(key)):
			return false, nil
		case err == nil:
			some = true
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case !p.has(service, old): // the rotation has not started
			return false, nil
		}
	}
	return some, nil
}

// use replaces a service's current key with the next one. It does nothing if an earlier run did so.
func (p place) use(service string) error {
	if !p.has(service, next) {
		return nil
	}
	key, err := publicOf(p.file(service, current))
	if err != nil {
		return err
	}
	if err := replace(p.file(service, old), []byte(key+"\n")); err != nil {
		return err
	}
	return os.Rename(p.file(service, next), p.file(service, current))
}

// has reports whether a key file exists.
func (p place) has(service, suffix string) bool {
	_, err := os.Lstat(p.file(service, suffix))
	return err == nil
}

// retire removes the keys before the last rotation.
func (p place) retire(out io.Writer) error {
	for _, service := range topology.Users() {
		if err := os.Remove(p.file(service, old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Fprintln(out, "the old keys are retired: reload the broker")
	return nil
}
