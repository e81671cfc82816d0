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

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/secretfile"
)

// keyFolder is the folder of the keys, with their owner and mode.
type keyFolder struct {
	dir      string
	users    string      // path of the broker's users file
	mode     fs.FileMode // of seeds
	backup   bool        // create the keys of topology.CopyUsers too
	uid, gid int         // -1: the user of this process
}

func keys(_ context.Context, args []string, _ func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("provisioner keys", flag.ContinueOnError)
	users := f.String("users", "", "the broker's users file (default DIR/users.conf)")
	owner := f.String("owner", "", "UID[:GID] of the seeds and their folder; needs root")
	mode := f.String("mode", "0600", "mode of the seeds")
	rotate := f.Bool("rotate", false, "create the next keys; the second run switches to them")
	backup := f.Bool("backup", false, "create the keys backup and restore too, for tieback backup and tieback restore")
	retire := f.Bool("retire", false, "remove the previous keys from the broker's users file, after a rotation")
	if err := parse(f, args, "DIR"); err != nil {
		return err
	}
	if *rotate && *retire {
		return &usageError{errors.New("--rotate and --retire exclude each other")}
	}
	k := keyFolder{dir: f.Arg(0), users: *users, backup: *backup}
	if k.users == "" {
		k.users = filepath.Join(k.dir, "users.conf")
	}
	var err error
	if k.mode, err = modeOf(*mode); err != nil {
		return &usageError{fmt.Errorf("--mode: %w", err)}
	}
	if k.uid, k.gid, err = ownerOf(*owner); err != nil {
		return &usageError{fmt.Errorf("--owner: %w", err)}
	}
	if err := k.createFolder(); err != nil {
		return err
	}
	switch {
	case *rotate:
		err = k.rotate(out)
	case *retire:
		err = k.retire(out)
	}
	if err != nil {
		return err
	}
	return k.create(out)
}

func modeOf(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 || n&0o400 == 0 {
		return 0, fmt.Errorf("%q is not a mode; write it as 0600", text)
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

// services returns the users that have or get a key: all services, and the users of backups if they were asked for once.
func (k keyFolder) services() []string {
	all := topology.Users()
	for _, u := range topology.CopyUsers() {
		if k.backup || k.has(u, current) {
			all = append(all, u)
		}
	}
	return all
}

// create creates the missing seeds and writes the broker's users file. It never changes a seed that exists.
func (k keyFolder) create(out io.Writer) error {
	public := map[string][]string{}
	for _, service := range k.services() {
		created, err := k.createSeed(k.file(service, current))
		if err != nil {
			return err
		}
		if public[service], err = k.publicKeys(service); err != nil {
			return err
		}
		state := "exists"
		if created {
			state = "created"
		}
		fmt.Fprintf(out, "key of %s: %s, %s\n", service, state, public[service][0])
	}
	text, err := topology.UsersFile(public)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(k.users)
	if err == nil && bytes.Equal(old, text) {
		fmt.Fprintf(out, "%s: unchanged\n", k.users)
		return nil
	}
	if err := writeFile(k.users, text); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: written; reload the broker (nats-server --signal reload)\n", k.users)
	return nil
}

// createFolder creates the folder with mode 0700. It does not change an existing one.
func (k keyFolder) createFolder() error {
	if _, err := os.Stat(k.dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	return k.setOwner(k.dir)
}

// setOwner makes the owner of the keys the owner of a file.
func (k keyFolder) setOwner(path string) error {
	if k.uid < 0 {
		return nil
	}
	return os.Chown(path, k.uid, k.gid)
}

// createSeed creates a seed unless the file exists, and reports whether it did. It links to a complete file. The seed is therefore
// never incomplete, and does not replace one that another process creates at the same time.
func (k keyFolder) createSeed(file string) (created bool, err error) {
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
	draft, err := k.draft(text)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(draft) }() // the link stays
	switch err := os.Link(draft, file); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// draft writes a seed to a temporary file and returns its name.
func (k keyFolder) draft(text []byte) (string, error) {
	f, err := os.CreateTemp(k.dir, ".key-") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Chmod(k.mode), k.setOwner(f.Name()), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// publicKey returns the public key of a seed file. Its errors never contain the seed.
func publicKey(file string) (string, error) {
	raw, err := secretfile.ReadSecret(file)
	if err != nil {
		return "", err
	}
	defer clear(raw)
	pair, err := nkeys.ParseDecoratedUserNKey(bytes.TrimSpace(raw))
	if err != nil {
		return "", fmt.Errorf("%s does not contain a user's nkey seed (SU…): %w; delete it to create a new one", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// writeFile replaces a file atomically. Its mode is 0644.
func writeFile(file string, text []byte) error {
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
