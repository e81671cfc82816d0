package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tieback/tieback/pkg/fault"
)

// schema is idempotent. Amounts are decimals in TEXT, exactly as booked; dates are YYYY-MM-DD. records.body is the
// Record message with its lines; the other columns are for queries.
const schema = `
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; -- 'currency': the company's own
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
	id         INTEGER PRIMARY KEY,
	entity     INTEGER NOT NULL,
	origin_id  TEXT    NOT NULL,
	procore_id INTEGER NOT NULL,
	code       TEXT    NOT NULL,
	name       TEXT    NOT NULL,
	job        TEXT    NOT NULL,
	sub_job    TEXT    NOT NULL,
	parent     TEXT    NOT NULL,
	scope      TEXT,             -- in which the code is unique; NULL: it need not be
	lines      INTEGER NOT NULL, -- the last line number
	seq        INTEGER NOT NULL, -- of the last change
	deleted    INTEGER NOT NULL DEFAULT 0,
	body       BLOB    NOT NULL,
	UNIQUE (entity, origin_id)
);
CREATE INDEX IF NOT EXISTS records_seq ON records (entity, seq);
CREATE INDEX IF NOT EXISTS records_job ON records (entity, job, seq);
CREATE UNIQUE INDEX IF NOT EXISTS records_code ON records (entity, scope, code) WHERE deleted = 0 AND scope IS NOT NULL;
CREATE TABLE IF NOT EXISTS numbers ( -- of invoices and checks, to detect duplicates; see document_number.go
	record_id INTEGER PRIMARY KEY REFERENCES records (id),
	owner     TEXT NOT NULL,
	number    TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS numbers_number ON numbers (owner, number);
CREATE TABLE IF NOT EXISTS lines (
	origin_id TEXT PRIMARY KEY,
	record_id INTEGER NOT NULL REFERENCES records (id),
	cost_code TEXT NOT NULL,
	category  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lines_record ON lines (record_id);
CREATE INDEX IF NOT EXISTS lines_cost ON lines (cost_code, category) WHERE cost_code <> '';
CREATE TABLE IF NOT EXISTS refs ( -- references between records; entity 0: to a line
	entity    INTEGER NOT NULL,
	origin_id TEXT    NOT NULL,
	record_id INTEGER NOT NULL REFERENCES records (id),
	PRIMARY KEY (entity, origin_id, record_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refs_record ON refs (record_id);
CREATE TABLE IF NOT EXISTS keys (
	key       TEXT PRIMARY KEY,
	record_id INTEGER NOT NULL REFERENCES records (id),
	booking   BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_record ON keys (record_id);
CREATE TABLE IF NOT EXISTS requests ( -- the newest ERP request that wrote a record
	record_id    INTEGER PRIMARY KEY REFERENCES records (id),
	order_latest TEXT NOT NULL -- the highest; compared bytewise; see PutRequest.order
);
CREATE TABLE IF NOT EXISTS entries (
	id        INTEGER PRIMARY KEY,
	record_id INTEGER NOT NULL REFERENCES records (id),
	at        TEXT NOT NULL, -- UTC, the time of the booking
	date      TEXT NOT NULL, -- the accounting date, '': none
	currency  TEXT NOT NULL, -- an ISO code, that of all postings
	amount    TEXT NOT NULL, -- of the document, signed
	memo      TEXT NOT NULL,
	reverses  INTEGER UNIQUE REFERENCES entries (id)
);
CREATE INDEX IF NOT EXISTS entries_record ON entries (record_id);
CREATE TABLE IF NOT EXISTS postings (
	entry_id  INTEGER NOT NULL REFERENCES entries (id),
	n         INTEGER NOT NULL,
	account   INTEGER NOT NULL,
	cost_code TEXT NOT NULL,
	category  TEXT NOT NULL,
	amount    TEXT NOT NULL, -- debit positive, credit negative
	PRIMARY KEY (entry_id, n)
) WITHOUT ROWID;
`

// store is one database file, with a pool of readers and one writer.
type store struct {
	reader *sql.DB
	writer *writer
	mark   *mark
	users  int // guarded by Ledger.mu
}

// openStore opens the books at path, and creates them if needed. If they lack confirmed transactions, the error is ErrLost.
func openStore(ctx context.Context, path string) (_ *store, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Transient, fmt.Errorf("ledger %s: %w", path, err))
	}
	m, first, err := openMark(ctx, abs)
	if err != nil {
		return nil, fault.New(fault.Transient, fmt.Errorf("ledger %s: %w", path, err))
	}
	if first {
		if err = m.prove(ctx, abs); err == nil {
			err = m.share()
		}
	}
	var write, read *sql.DB
	if err == nil {
		write, err = openDB(ctx, abs, 1)
	}
	if err == nil {
		_, err = write.ExecContext(ctx, "BEGIN IMMEDIATE;"+schema+"COMMIT;")
	}
	if err == nil {
		read, err = openDB(ctx, abs, 4)
	}
	if err != nil {
		opening := &fault.Error{Class: fault.Transient, Err: fmt.Errorf("ledger %s: %w", path, err)}
		if errors.Is(err, ErrLost) || corrupt(err) {
			opening.Reason = fault.Damaged
		}
		return nil, errors.Join(opening, closeDB(write), closeDB(read), m.close())
	}
	return &store{reader: read, writer: startWriter(write, m), mark: m}, nil
}

func openDB(ctx context.Context, path string, conns int) (*sql.DB, error) {
	// temp_store keeps temporary data of large transactions in memory. A container that may write only to its data
	// has no folder for temporary files, and SQLite would fail with IOERR_GETTEMPPATH (6410).
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, db.PingContext(ctx)
}

func closeDB(db *sql.DB) error {
	if db == nil {
		return nil
	}
	return db.Close()
}

func (s *store) close() error { return errors.Join(s.writer.Stop(), s.reader.Close(), s.mark.close()) }

// classed classifies an error of SQLite: transient, as nothing was written, or permanent if the file is damaged. An
// error that has a class keeps it.
func classed(err error) error {
	var known *fault.Error
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case corrupt(err):
		return &fault.Error{
			Class: fault.Permanent, Err: fmt.Errorf("ledger: %w", err),
			UserMessage: "The ledger's file is damaged. Ask your administrator to restore it from a backup.",
		}
	}
	return fault.New(fault.Transient, fmt.Errorf("ledger: %w", err))
}

// corrupt reports whether the content of the file is damaged.
func corrupt(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqlite3.SQLITE_CORRUPT || lite.Code()&0xff == sqlite3.SQLITE_NOTADB)
}
