package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// ErrLost is returned, wrapped, for books that lack confirmed transactions. They are not changed, and can't be opened
// until they are restored or the loss is accepted; see Ledger.AcceptLoss.
var ErrLost = errors.New("the books lack confirmed transactions")

// prove compares the books at path with their mark. The first store to open the books calls it. It does not change
// them: when SQLite closes the file, it would drop the part of its log that it can't read.
func (m *mark) prove(ctx context.Context, path string) error {
	has, err := lastPoint(ctx, path)
	if err != nil {
		return err
	}
	want, marked, err := m.read()
	switch {
	case err != nil:
		return err
	case !marked && has.commit > 0:
		return fmt.Errorf("%w, perhaps: %s is missing or damaged, and without it a loss can't be ruled out; %s", ErrLost, m.f.Name(), whatToDo)
	case !marked:
		return m.create(point{at: time.Now()})
	case has.commit < want.commit:
		return fmt.Errorf("%w: %s had %d transactions when the last was confirmed, at %s, and has %d now: "+
			"the file, or its -wal beside it, was damaged or replaced by an older one; %s",
			ErrLost, path, want.commit, want.at.Format("2006-01-02 15:04:05 MST"), has.commit, whatToDo)
	case has.commit > want.commit: // a crash between the commit and its mark
		has.at = time.Now()
		return m.write(has)
	}
	return nil
}

const whatToDo = "stop Tieback and keep a copy of the folder; if you have a backup of the books, put it in their place; " +
	"then run `ledger accept-loss --company N` (`tieback ledger ...`), and export again what is missing"

// lastPoint reads the position of the books at path without changing the file or its log. It returns the zero point if
// there are no books.
func lastPoint(ctx context.Context, path string) (p point, err error) {
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return point{}, nil
	}
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return point{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'counters'").Scan(&tables); err != nil || tables == 0 {
		return point{}, err
	}
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(n) FILTER (WHERE name = 'commit'), 0), coalesce(max(n) FILTER (WHERE name = 'seq'), 0) FROM counters").
		Scan(&p.commit, &p.seq)
	return p, err
}
