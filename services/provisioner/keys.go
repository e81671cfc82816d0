package provisioner

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/secretfile"
)

// place is where the keys go, and whose they are.
type place struct {
	dir      string
	users    string      // the file of users
	mode     fs.FileMode // of seeds
	uid, gid int         // -1: whoever makes them
}

func keys(_ context.Context, args []string, _ func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("provisioner keys", flag.ContinueOnError)
	users := f.String("users", "", "the broker's file of users; DIR/users.conf")
	owner := f.String("owner", "", "UID[:GID] of the seeds and their folder; only root may say")
	mode := f.String("mode", "0600", "of the seeds")
	rotate := f.Bool("rotate", false, "make the next keys; run again, use them")
	retire := f.Bool("retire", false, "take the keys before the last rotation out of the broker's file")
	if err := parse(f, args, "DIR"); err != nil {
		return err
	}
	if *rotate && *retire {
		return &usageError{errors.New("--rotate and --retire: give one of them")}
	}
	p := place{dir: f.Arg(0), users: *users}
	if p.users == "" {
		p.users = filepath.Join(p.dir, "users.conf")
	}
	var err error
	if p.mode, err = modeOf(*mode); err != nil {
		return &usageError{fmt.Errorf("--mode: %w", err)}
	}
	if p.uid, p.gid, err = ownerOf(*owner); err != nil {
		return &usageError{fmt.Errorf("--owner: %w", err)}
	}
	if err := p.folder(); err != nil {
		return err
	}
	switch {
	case *rotate:
		err = p.rotate(out)
	case *retire:
		err = p.retire(out)
	}
	if err != nil {
		return err
	}
	return p.make(out)
}

func modeOf(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n&0o400 == 0 {
		return 0, fmt.Errorf("%q is no mode such as 0600", text)
	}
	return fs.FileMode(n), nil
}

func ownerOf(text string) (uid, gid int, err error) {
	if text == "" {
		return -1, -1, nil
	}
	user, group, both := strings.Cut(text, ":")
	if !both {
		group = user
	}
	uid, err1 := strconv.Atoi(user)
	gid, err2 := strconv.Atoi(group)
	if err1 != nil || err2 != nil || uid < 0 || gid < 0 {
		return 0, 0, fmt.Errorf("%q is not UID or UID:GID, in numbers", text)
	}
	return uid, gid, nil
}

// make makes the seeds that are missing, and writes the broker's file. It never touches a seed that exists.
func (p place) make(out io.Writer) error {
	public := map[string][]string{}
	for _, service := range bus.Users() {
		made, err := p.seed(p.file(service, current))
		if err != nil {
			return err
		}
		if public[service], err = p.publicKeys(service); err != nil {
			return err
		}
		done := "was there"
		if made {
			done = "created"
		}
		fmt.Fprintf(out, "key of %s: %s, %s\n", service, done, public[service][0])
	}
	text, err := bus.UsersFile(public)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(p.users)
	if err == nil && bytes.Equal(old, text) {
		fmt.Fprintf(out, "%s: unchanged\n", p.users)
		return nil
	}
	if err := replace(p.users, text); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: written; a broker that runs must read it again (nats-server --signal reload)\n", p.users)
	return nil
}

// folder makes the folder, for its owner alone. One that is there stays as it is.
func (p place) folder() error {
	if _, err := os.Stat(p.dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	return p.own(p.dir)
}

func (p place) own(path string) error {
	if p.uid < 0 {
		return nil
	}
	return os.Chown(path, p.uid, p.gid)
}

// seed makes a seed unless there is one, and says whether it did. It comes into being whole: a link
// to a finished file, which does not replace what another run has made meanwhile.
func (p place) seed(file string) (made bool, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return false, err
	}
	defer pair.Wipe()
	text, err := pair.Seed()
	if err != nil {
		return false, err
	}
	defer clear(text)
	draft, err := p.draft(text)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(draft) }() // of a link, the other name
	switch err := os.Link(draft, file); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

func (p place) draft(text []byte) (string, error) {
	f, err := os.CreateTemp(p.dir, ".key-") // for its owner alone
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Chmod(p.mode), p.own(f.Name()), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// publicOf reads a seed's public key; no error has its content.
func publicOf(file string) (string, error) {
	raw, err := secretfile.ReadSecret(file)
	if err != nil {
		return "", err
	}
	defer clear(raw)
	pair, err := nkeys.ParseDecoratedUserNKey(bytes.TrimSpace(raw))
	if err != nil {
		return "", fmt.Errorf("%s holds no user's nkey seed (SU…): %w; delete it to have one made", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// replace writes a file that everybody may read, whole or not at all.
func replace(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".users-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
