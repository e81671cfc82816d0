package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Accepted is the result of AcceptLoss.
type Accepted struct {
	Transactions int64    // the number of lost transactions; 0: none, or unknown
	Next         int64    // the number of the next record or line
	Kept         []string // the copies of the files
}

// AcceptLoss makes the books of a company usable again after they lost confirmed transactions (ErrLost). It copies
// their files to names with ".damaged-" and the time, then sets all counters to the number of seconds since the
// start of 2026. This is above all numbers of the lost transactions, so that no origin id is used twice. It may also
// be used after a backup was restored together with its mark. No process may have the books open.
func (l *Ledger) AcceptLoss(ctx context.Context, id int64) (a Accepted, err error) {
	if id <= 0 {
		return a, fault.Permanentf("company: %d is no company id; it must be a positive number.", id)
	}
	path := l.Path(id)
	m, first, err := openMark(ctx, path)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if !first {
		return a, fmt.Errorf("%s is open in another process: stop Tieback first", path)
	}
	if a.Kept, err = keepAside(path, ".damaged-"+time.Now().UTC().Format("20060102T150405Z")); err != nil {
		return a, err
	}
	has, err := lastPoint(ctx, path)
	if err != nil {
		return a, fmt.Errorf("%s can't be read at all: put a backup in its place: %w", path, err)
	}
	want, _, err := m.read()
	if err != nil {
		return a, err
	}
	a.Transactions = max(0, want.commit-has.commit)
	p := point{commit: max(want.commit, has.commit) + 1, at: time.Now()}
	p.seq = max(want.seq, has.seq, int64(time.Since(numberedSince).Seconds())) + slack
	a.Next = p.seq + 1
	if err := skipTo(ctx, path, p); err != nil {
		return a, err
	}
	return a, m.create(p)
}

var numberedSince = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// slack is more than the numbers of a group of writes that was committed but not yet recorded in the mark.
const slack = 1_000_000

// skipTo raises all counters, and the line numbers of each record, to p.
func skipTo(ctx context.Context, path string, p point) (err error) {
	db, err := openDB(ctx, path, 1)
	defer func() { err = errors.Join(err, closeDB(db)) }()
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after Commit
	for name, n := range p.counters() {
		if _, err := tx.ExecContext(ctx, setCounter, name, n); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE records SET lines = max(lines, ?)", p.seq); err != nil {
		return err
	}
	return tx.Commit()
}

// counters returns all counters of books at p, by name.
func (p point) counters() map[string]int64 {
	all := map[string]int64{commits: p.commit, "seq": p.seq, workOrder: p.seq}
	for _, t := range traits {
		if t.prefix != "" {
			all[t.prefix] = p.seq
		}
	}
	return all
}

// keepAside copies the files of the books at path, and returns the names of the copies.
func keepAside(path, suffix string) (kept []string, err error) {
	for _, part := range []string{"", "-wal", "-mark"} {
		switch err := copyFile(path+part, path+suffix+part); {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return kept, err
		default:
			kept = append(kept, path+suffix+part)
		}
	}
	return kept, nil
}

// copyFile copies to a new file, and syncs it.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
