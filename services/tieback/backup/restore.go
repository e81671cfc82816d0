package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/telemetry"
)

// restorer restores a backup.
type restorer struct {
	*archive
	copier   *bus.Copier
	data     string // TIEBACK_DATA, for the databases
	replicas int    // of each stream; 0: as in the backup
	progress func(format string, args ...any)
}

// run restores all parts. Nothing is overwritten: it first checks that the broker has none of the streams and the disk none of the
// databases, except for those that an interrupted restore of the same backup has completed.
func (r restorer) run(ctx context.Context) error {
	if r.Layout > topology.Version {
		r.progress("the backup was made by Tieback %s, whose streams are newer than those of this version, %s; this version leaves their configuration as it is", r.Version, telemetry.Version)
	}
	todo, err := r.missing(ctx)
	if err != nil {
		return err
	}
	for _, p := range todo { // the whole backup is read before anything is written
		if err := r.read(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range todo {
		if err := r.restore(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// missing returns the parts that are to be restored.
func (r restorer) missing(ctx context.Context) ([]part, error) {
	var todo []part
	for _, p := range r.Parts {
		if p.Stream == nil {
			if file := r.target(p); exists(file) {
				return nil, fmt.Errorf("%s exists: restore replaces nothing; move the file away first", file)
			}
			todo = append(todo, p)
			continue
		}
		switch messages, first, last, err := r.copier.State(ctx, p.Stream.Stream); {
		case errors.Is(err, bus.ErrNoStream):
			todo = append(todo, p)
		case err != nil:
			return nil, err
		case messages == p.Stream.Messages && last == p.Stream.Last && (messages == 0 || first == p.Stream.First):
			r.progress("%s: is there already, with the same messages", p.Stream.Stream)
		default:
			return nil, fmt.Errorf("the broker has a stream %s already, with %d messages: restore replaces nothing. Restore into an empty broker, and stop the services until it is done",
				p.Stream.Stream, messages)
		}
	}
	return todo, nil
}

// read reads a part to its end, which compares its checksum.
func (r restorer) read(ctx context.Context, p part) error {
	stored, err := r.open(ctx, p)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stored)
	return errors.Join(err, stored.Close())
}

func (r restorer) restore(ctx context.Context, p part) (err error) {
	stored, err := r.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	if p.Stream == nil {
		if err := writeDatabase(ctx, r.target(p), stored); err != nil {
			return err
		}
		r.progress("%s", r.target(p))
		return nil
	}
	if err := r.copier.Restore(ctx, *p.Stream, r.replicas, stored); err != nil {
		return err
	}
	switch messages, first, last, err := r.copier.State(ctx, p.Stream.Stream); {
	case err != nil:
		return err
	case last == p.Stream.Last && messages < p.Stream.Messages && p.Stream.Stream == topology.State.Stream():
		r.progress("%s: %d messages; %d have expired since the backup", p.Stream.Stream, messages, p.Stream.Messages-messages)
	case messages != p.Stream.Messages || last != p.Stream.Last:
		return fmt.Errorf("%s has %d messages after the restore, sequences %d to %d; the backup should have %d, %d to %d: the copy is not complete, use an earlier backup",
			p.Stream.Stream, messages, first, last, p.Stream.Messages, p.Stream.First, p.Stream.Last)
	default:
		r.progress("%s: %d messages", p.Stream.Stream, messages)
	}
	return nil
}

// target returns the file of a database.
func (r restorer) target(p part) string { return filepath.Join(r.data, filepath.FromSlash(p.File)) }

// check rejects a manifest that names other streams than a backup has, or files outside the data folder.
func (m manifest) check() error {
	for _, p := range m.Parts {
		if p.Stream == nil && !filepath.IsLocal(filepath.FromSlash(p.File)) || p.Stream != nil && !slices.Contains(streams(), p.Stream.Stream) {
			return fmt.Errorf("the manifest of backup %s has a part that no backup of Tieback has: %q, file %q", m.ID, p.Name, p.File)
		}
	}
	return nil
}

// writeDatabase writes a database file beside its place, checks it, and moves it there.
func writeDatabase(ctx context.Context, to string, from io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".unfinished-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(f, from); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := checkDatabase(ctx, f.Name()); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return os.Rename(f.Name(), to)
}
