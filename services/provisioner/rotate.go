package provisioner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tieback/tieback/pkg/bus"
)

// The files of a service's keys, and where a rotation stands:
//
//	           files           the broker takes   services show
//	           .nk             .nk                .nk
//	--rotate   .nk .next       .nk .next          .nk
//	--rotate   .nk .old        .nk .old           .nk, which was .next, from their next connect on
//	--retire   .nk             .nk                .nk
//
// The broker must read its file after each step before the next one, and the services must have the new seed
// before --retire. Then no service waits: at each moment the broker takes whichever key a service shows.
const (
	current = ".nk"   // the seed
	next    = ".next" // the seed of the next key
	old     = ".old"  // the public half of the key before
)

func (p place) file(service, suffix string) string { return filepath.Join(p.dir, service+suffix) }

// publicKeys are the keys of a service that the broker is to take, the current one first.
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

// rotate makes the next keys, or uses them where the broker's file has them all.
func (p place) rotate(out io.Writer) error {
	ready, err := p.ready()
	if err != nil {
		return err
	}
	for _, service := range bus.Users() {
		if !ready {
			if p.has(service, old) {
				return fmt.Errorf("%s: the key before the last rotation is still taken: run `provisioner keys --retire` first", service)
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
		fmt.Fprintln(out, "the next keys are used: give them to the services; when each has its own, run `provisioner keys --retire`")
		return nil
	}
	fmt.Fprintln(out, "the next keys are made: have the broker read its file, then run `provisioner keys --rotate` again")
	return nil
}

// ready reports whether there are next keys, and the broker's file has all of them.
func (p place) ready() (bool, error) {
	conf, err := os.ReadFile(p.users)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	some := false
	for _, service := range bus.Users() {
		key, err := publicOf(p.file(service, next))
		switch {
		case err == nil && !bytes.Contains(conf, []byte(key)):
			return false, nil
		case err == nil:
			some = true
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case !p.has(service, old): // neither: it is not being rotated yet
			return false, nil
		}
	}
	return some, nil
}

// use puts a service's next key in the place of its current one. Where an earlier run did that, it does nothing.
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

func (p place) has(service, suffix string) bool {
	_, err := os.Lstat(p.file(service, suffix))
	return err == nil
}

// retire forgets the keys before the last rotation.
func (p place) retire(out io.Writer) error {
	for _, service := range bus.Users() {
		if err := os.Remove(p.file(service, old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Fprintln(out, "the old keys are retired: have the broker read its file")
	return nil
}
