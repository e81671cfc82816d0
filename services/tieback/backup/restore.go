package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/localfile"
	"github.com/tieback/tieback/pkg/telemetry"
)

// restorer restores a backup.
type restorer struct {
	*archive
	copier   *bus.Copier
	data     string // TIEBACK_DATA, for the databases
	replicas int    // of each stream; 0: as in the backup
	keep     bool   // leave databases that exist as they are; otherwise they are an error
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
			if file := r.target(p); r.keep && exists(file) {
				r.progress("%s: is kept as it is", file)
				continue
			}
			restored, err := r.hasDatabase(ctx, p)
			if err != nil {
				return nil, err
			}
			if restored {
				r.progress("%s: is there already, with the same content", r.target(p))
				continue
			}
			todo = append(todo, p)
			continue
		}
		switch messages, first, last, err := r.copier.State(ctx, p.Stream.Stream); {
		case errors.Is(err, bus.ErrNoStream):
			todo = append(todo, p)
		case err != nil:
			return nil, err
		case complete(*p.Stream, messages, first, last):
			r.progress("%s: is there already, with the same messages", p.Stream.Stream)
		default:
			return nil, fmt.Errorf("the broker has a stream %s already, with %d messages, and the backup has %d: restore replaces nothing. If an earlier restore was interrupted in this stream, the broker has kept a part of it. Begin again with an empty broker, and stop the services until it is done",
				p.Stream.Stream, messages, p.Stream.Messages)
		}
	}
	return todo, nil
}

// complete reports whether a stream with these messages is one that was restored from a copy, to its end. A bucket may have fewer
// messages than when its copy began: keys expire, and a key that was written again while the bucket was copied is missing, because the
// bucket keeps only the newest message of a key.
func complete(of bus.StreamCopy, messages, first, last uint64) bool {
	if bucket := of.Stream == topology.State.Stream() || of.Stream == topology.Seen.Stream(); bucket {
		return messages <= of.Messages && last == of.Last
	}
	return messages == of.Messages && last == of.Last && (messages == 0 || first == of.First)
}

// hasDatabase reports whether the file of a database exists, as an interrupted restore of this backup has written it. It is an
// error if there is another file, or one that SQLite keeps beside a database and would apply to the restored one.
func (r restorer) hasDatabase(ctx context.Context, p part) (bool, error) {
	file := r.target(p)
	for _, beside := range []string{"-wal", "-shm", "-journal"} {
		if exists(file + beside) {
			return false, fmt.Errorf("%s exists, and SQLite would apply it to the restored database: stop the services, and move it away first, together with %s. If only the broker was lost, give --keep-databases: they are newer than the backup", file+beside, file)
		}
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	stored, err := r.open(ctx, p)
	if err != nil {
		return false, err
	}
	defer func() { _ = stored.Close() }()
	has, want := sha256.New(), sha256.New()
	_, err1 := io.Copy(has, f)
	_, err2 := io.Copy(want, stored)
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	if !bytes.Equal(has.Sum(nil), want.Sum(nil)) {
		return false, fmt.Errorf("%s exists: restore replaces nothing. If only the broker was lost, the file is newer than the backup: give --keep-databases. Otherwise move it away first", file)
	}
	return true, nil
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
	case !complete(*p.Stream, messages, first, last):
		return fmt.Errorf("%s has %d messages after the restore, sequences %d to %d; the backup should have %d, %d to %d: the copy is not complete, use an earlier backup",
			p.Stream.Stream, messages, first, last, p.Stream.Messages, p.Stream.First, p.Stream.Last)
	case messages < p.Stream.Messages:
		r.progress("%s: %d messages; %d keys expired, or were changed while the backup was made", p.Stream.Stream, messages, p.Stream.Messages-messages)
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
	if err := os.Rename(f.Name(), to); err != nil {
		return err
	}
	return localfile.SyncDir(filepath.Dir(to))
}
