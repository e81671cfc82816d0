package provisioner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a service's keys at each step of a rotation:
//
//	           files           broker accepts     services use
//	           .nk             .nk                .nk
//	--rotate   .nk .next       .nk .next          .nk
//	--rotate   .nk .old        .nk .old           .nk, the former .next, from their next connect
//	--retire   .nk             .nk                .nk
//
// Reload the broker after each step, and give the services their new seeds before --retire. Then the broker accepts the key of
// each service at all times.
const (
	current = ".nk"   // the seed
	next    = ".next" // the seed of the next key
	old     = ".old"  // the previous public key
)

// file returns the path of a service's key.
func (k keyFolder) file(service, suffix string) string { return filepath.Join(k.dir, service+suffix) }

// publicKeys returns the keys of a service that the broker accepts, the current one first.
func (k keyFolder) publicKeys(service string) ([]string, error) {
	key, err := publicKey(k.file(service, current))
	if err != nil {
		return nil, err
	}
	all := []string{key}
	switch key, err := publicKey(k.file(service, next)); {
	case err == nil:
		all = append(all, key)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	switch raw, err := os.ReadFile(k.file(service, old)); {
	case err == nil:
		all = append(all, string(bytes.TrimSpace(raw)))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return all, nil
}

// rotate creates the next keys, or switches to them if the broker's users file has all of them.
func (k keyFolder) rotate(out io.Writer) error {
	ready, err := k.ready()
	if err != nil {
		return err
	}
	for _, service := range k.services() {
		if !ready {
			if k.has(service, old) {
				return fmt.Errorf("%s: the previous key is still accepted; run `provisioner keys --retire` first", service)
			}
			if _, err := k.createSeed(k.file(service, next)); err != nil {
				return err
			}
			continue
		}
		if err := k.switchKey(service); err != nil {
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

// ready reports whether next keys exist and the broker's users file has all of them.
func (k keyFolder) ready() (bool, error) {
	conf, err := os.ReadFile(k.users)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	exist := false
	for _, service := range k.services() {
		key, err := publicKey(k.file(service, next))
		switch {
		case err == nil && !bytes.Contains(conf, []byte(key)):
			return false, nil
		case err == nil:
			exist = true
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case !k.has(service, old): // the rotation has not started
			return false, nil
		}
	}
	return exist, nil
}

// switchKey replaces a service's current key with the next one. It does nothing if an earlier run has replaced it.
func (k keyFolder) switchKey(service string) error {
	if !k.has(service, next) {
		return nil
	}
	key, err := publicKey(k.file(service, current))
	if err != nil {
		return err
	}
	if err := writeFile(k.file(service, old), []byte(key+"\n")); err != nil {
		return err
	}
	return os.Rename(k.file(service, next), k.file(service, current))
}

// has reports whether a key file exists.
func (k keyFolder) has(service, suffix string) bool {
	_, err := os.Lstat(k.file(service, suffix))
	return err == nil
}

// retire removes the previous keys.
func (k keyFolder) retire(out io.Writer) error {
	for _, service := range k.services() {
		if err := os.Remove(k.file(service, old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Fprintln(out, "the old keys are retired: reload the broker")
	return nil
}
