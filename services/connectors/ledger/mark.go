package ledger

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tieback/tieback/pkg/localfile"
)

// mark is the file <books>-mark beside a company's books. It has the number of the last transaction that was
// confirmed to a caller.
//
// SQLite ends its write-ahead log at the first frame with a wrong checksum. This is right after a crash during a
// write, but it also drops confirmed writes behind a damaged byte, without an error. The mark distinguishes the two:
// each transaction increments the counter "commit" in the books, and a caller gets its answer after the mark with
// that number is on disk. Books whose counter is lower than their mark have lost confirmed writes.
//
// The file has slots of 512 bytes, one sector each, which are written in turn. A crash during a write damages one
// slot, whose number is older than that of the slot before.
//
// An open store holds a shared lock on the file. The first store to open it holds the exclusive lock while it
// compares mark and books, so that there are no writes.
type mark struct{ f *os.File }

const (
	slotSize  = 512
	slotCount = 8
)

// point is a position in the history of books. The zero value is that of new books.
type point struct {
	commit int64     // transactions that changed something
	seq    int64     // number of the last change; no origin id has a higher number
	at     time.Time // when it was confirmed; zero if read from the books
}

// openMark opens the mark of the books at path, and creates the file if needed. It waits up to ten seconds for a
// comparison by another process. If no other store has the books open, first is true and the lock is exclusive.
func openMark(ctx context.Context, path string) (m *mark, first bool, err error) {
	f, err := os.OpenFile(path+"-mark", os.O_RDWR|os.O_CREATE|localfile.DataSync, 0o600)
	if err != nil {
		return nil, false, err
	}
	m = &mark{f}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		for _, first := range []bool{true, false} {
			locked, err := localfile.Lock(f, first)
			if locked {
				return m, first, nil
			}
			if err == nil {
				continue
			}
			return nil, false, errors.Join(fmt.Errorf("%s can't be locked: keep the books on a local disk: %w", f.Name(), err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, false, errors.Join(fmt.Errorf("another process is checking the books: %w", ctx.Err()), f.Close())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// share changes the exclusive lock to a shared one.
func (m *mark) share() error { return localfile.Share(m.f) }

func (m *mark) close() error { return m.f.Close() }

// read returns the latest point; found is false if no slot is valid.
func (m *mark) read() (latest point, found bool, err error) {
	raw := make([]byte, slotSize*slotCount)
	if _, err := m.f.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) { // a file that was not written to its end has fewer slots
		return point{}, false, err
	}
	for i := range slotCount {
		p, ok := parseSlot(raw[i*slotSize : (i+1)*slotSize])
		if ok && (!found || p.commit >= latest.commit) {
			latest, found = p, true
		}
	}
	return latest, found, nil
}

// create writes all slots, so that the file does not grow later, and syncs its folder.
func (m *mark) create(p point) error {
	raw := make([]byte, 0, slotSize*slotCount)
	for range slotCount {
		raw = append(raw, p.slot()...)
	}
	if _, err := m.f.WriteAt(raw, 0); err != nil {
		return err
	}
	return localfile.SyncDir(filepath.Dir(m.f.Name()))
}

// write returns after p is on disk. Several processes may write; read returns the highest number.
func (m *mark) write(p point) error {
	_, err := m.f.WriteAt(p.slot(), p.commit%slotCount*slotSize)
	return err
}

var slotSum = crc32.MakeTable(crc32.Castagnoli)

// slot encodes a point as a line of text, padded with zeros: commit, seq, time and checksum.
func (p point) slot() []byte {
	line := fmt.Appendf(nil, "%d %d %d ", p.commit, p.seq, p.at.UnixMilli())
	out := make([]byte, slotSize)
	copy(out, fmt.Appendf(line, "%08x\n", crc32.Checksum(line, slotSum)))
	return out
}

func parseSlot(raw []byte) (p point, ok bool) {
	var ms int64
	var sum uint32
	if _, err := fmt.Sscanf(string(raw), "%d %d %d %x\n", &p.commit, &p.seq, &ms, &sum); err != nil {
		return point{}, false
	}
	p.at = time.UnixMilli(ms).UTC()
	return p, string(p.slot()) == string(raw)
}
