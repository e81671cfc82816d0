package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"filippo.io/age"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/telemetry"
)

const (
	manifestName = "manifest.json"
	format       = 1
)

// manifest describes a backup. It is written last, so a backup without one is unfinished. It is not encrypted and contains
// no secret and no payload.
type manifest struct {
	Format    int       `json:"format"`
	ID        string    `json:"id"` // the time at which the backup began, such as 20261130T143500Z
	Version   string    `json:"version"`
	Layout    int       `json:"layout"` // of the streams, see topology.Version
	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended"`
	Encrypted bool      `json:"encrypted"`
	Parts     []part    `json:"parts"` // in the order in which they were copied
}

// part is one stored file of a backup: a stream or a database.
type part struct {
	Name   string          `json:"name"`             // below the backup's folder
	Stream *bus.StreamCopy `json:"stream,omitempty"` // nil for a database
	File   string          `json:"file,omitempty"`   // of a database, below TIEBACK_DATA, slash-separated
	Size   int64           `json:"size"`             // bytes as stored
	SHA256 string          `json:"sha256"`           // of the bytes as stored
}

// streams returns the streams in the order in which a backup copies them. Each stream is copied at a moment of its own, while
// messages move from one to the next, so the order decides what a restored pipeline may have:
//
//   - the watermarks first: no stream has less than its watermark;
//   - the state before the deliveries: the sweep resumes at a time up to which the deliveries are complete. Links that were
//     stored in between are missing; they are found by the ERP's keys, or by `tieback links rebuild`;
//   - the resolutions before the replays that they announce;
//   - each stage before the next one: a message that its consumer has finished has its successor in a later copy. A successor
//     whose predecessor is unfinished is one that the broker refuses to store a second time.
//
// The bucket of rate limits is left out, since it is only for display.
func streams() []string {
	all := []string{topology.Seen.Stream(), topology.State.Stream()}
	for _, k := range []bus.Kind{bus.Resolution, bus.Delivery, bus.Event, bus.Outcome, bus.Dead, bus.Closed} {
		all = append(all, k.Stream())
	}
	return all
}

// database is an SQLite file to be copied.
type database struct {
	path string // on disk
	file string // below TIEBACK_DATA, slash-separated
}

// maker makes a backup.
type maker struct {
	to         store
	recipients []age.Recipient // none: the backup is not encrypted
	copier     *bus.Copier     // nil: no streams
	databases  []database
	progress   func(format string, args ...any)
}

// run makes a backup. After an error its files remain without a manifest.
func (m maker) run(ctx context.Context, now time.Time) (manifest, error) {
	b := manifest{
		Format: format, ID: now.UTC().Format("20060102T150405Z"), Version: telemetry.Version, Layout: topology.Version,
		Began: now.UTC().Truncate(time.Second), Encrypted: len(m.recipients) > 0,
	}
	if m.copier != nil {
		for _, stream := range streams() {
			var copied bus.StreamCopy
			p, err := m.part(ctx, b.ID, stream, func(w io.Writer) (err error) {
				copied, err = m.copier.Snapshot(ctx, stream, w)
				return err
			})
			if err != nil {
				return b, err
			}
			p.Stream = &copied
			b.Parts = append(b.Parts, p)
			m.progress("%s: %d messages, %d bytes", stream, copied.Messages, p.Size)
		}
	}
	for _, d := range m.databases {
		p, err := m.part(ctx, b.ID, path.Base(path.Dir(d.file))+"-"+path.Base(d.file), func(w io.Writer) error { return copyDatabase(ctx, d.path, w) })
		if err != nil {
			return b, fmt.Errorf("%s: %w", d.path, err)
		}
		p.File = d.file
		b.Parts = append(b.Parts, p)
		m.progress("%s: %d bytes", d.file, p.Size)
	}
	b.Ended = time.Now().UTC().Truncate(time.Second)
	raw, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return b, err
	}
	r, w := io.Pipe()
	go func() { _, err := w.Write(raw); _ = w.CloseWithError(err) }()
	return b, m.to.write(ctx, path.Join(b.ID, manifestName), r)
}

// part stores what fill writes, encrypted.
func (m maker) part(ctx context.Context, id, name string, fill func(io.Writer) error) (part, error) {
	if len(m.recipients) > 0 {
		name += ".age"
	}
	p := part{Name: name}
	r, w := io.Pipe()
	sum := sha256.New()
	count := writerFunc(func(b []byte) (int, error) { p.Size += int64(len(b)); return sum.Write(b) })
	filled := make(chan error, 1)
	go func() {
		err := sealed(io.MultiWriter(count, w), m.recipients, fill)
		_ = w.CloseWithError(err)
		filled <- err
	}()
	stored := m.to.write(ctx, path.Join(id, name), r)
	_ = r.CloseWithError(errors.Join(stored, io.ErrClosedPipe)) // ends fill after an error of the store
	if err := <-filled; err != nil && stored == nil {
		return part{}, err
	}
	if stored != nil {
		return part{}, fmt.Errorf("%s: %w", m.to, stored)
	}
	p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return p, nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// sealed writes what fill writes to w, encrypted unless there are no recipients.
func sealed(w io.Writer, recipients []age.Recipient, fill func(io.Writer) error) error {
	if len(recipients) == 0 {
		return fill(w)
	}
	e, err := age.Encrypt(w, recipients...)
	if err != nil {
		return err
	}
	if err := fill(e); err != nil {
		return err
	}
	return e.Close()
}

// archive is a finished backup.
type archive struct {
	manifest
	from       store
	identities []age.Identity
}

// openArchive reads the manifest of a backup. An empty id is the newest one.
func openArchive(ctx context.Context, from store, id string, identities []age.Identity) (*archive, error) {
	if id == "" {
		ids, err := from.backups(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("%s has no finished backup", from)
		}
		id = ids[len(ids)-1]
	}
	r, err := from.read(ctx, path.Join(id, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no finished backup %s: `tieback backup list` shows those that it has", from, id)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	defer func() { _ = r.Close() }()
	a := &archive{from: from, identities: identities}
	if err := json.NewDecoder(r).Decode(&a.manifest); err != nil {
		return nil, fmt.Errorf("%s: %s of backup %s: %w", from, manifestName, id, err)
	}
	switch {
	case a.Format != format:
		return nil, fmt.Errorf("backup %s has format %d, made by Tieback %s; this is %s and reads format %d", id, a.Format, a.Version, telemetry.Version, format)
	case a.ID != id:
		return nil, fmt.Errorf("%s: the folder %s has the manifest of backup %s", from, id, a.ID)
	case a.Encrypted && len(identities) == 0:
		return nil, fmt.Errorf("backup %s is encrypted: give --identity, the file with its secret key", id)
	}
	return a, a.check()
}

// open opens a part for reading, decrypted. Reading to the end also compares its checksum: an incomplete or changed part is an
// error instead of io.EOF.
func (a *archive) open(ctx context.Context, p part) (io.ReadCloser, error) {
	stored, err := a.from.read(ctx, path.Join(a.ID, p.Name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.from, err)
	}
	checked := &checkedReader{r: stored, want: p, sum: sha256.New()}
	if !a.Encrypted {
		return readCloser{checked, stored}, nil
	}
	plain, err := age.Decrypt(checked, a.identities...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s of backup %s: %w", p.Name, a.ID, err), stored.Close())
	}
	return readCloser{plain, stored}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// checkedReader compares size and checksum at the end of a stored part.
type checkedReader struct {
	r    io.Reader
	want part
	size int64
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (c *checkedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	_, _ = c.sum.Write(b[:n])
	c.size += int64(n)
	if errors.Is(err, io.EOF) && (c.size != c.want.Size || hex.EncodeToString(c.sum.Sum(nil)) != c.want.SHA256) {
		return n, fmt.Errorf("%s has changed since the backup was made: it has %d bytes, the manifest says %d, and its checksum must be %s", c.want.Name, c.size, c.want.Size, c.want.SHA256)
	}
	return n, err
}
