package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"time"

	"go.uber.org/zap"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// version is that of the schema. Increase it with a migration for each change of the schema: the index has a longer history than
// the streams, so a file can't be replaced by what they have.
const version = 3

// migrations are statements that change a file of a version into one of the next version.
var migrations = map[int]string{
	2: `ALTER TABLE requests RENAME COLUMN words TO texts; CREATE TABLE searchable (words INTEGER NOT NULL, upto INTEGER NOT NULL);
		INSERT INTO searchable VALUES (1, 9223372036854775807);`,
}

// wordsVersion is that of a request's terms; see entry.judge. Increase it with each change of them. Then Open derives the terms of
// all requests again, from what the file has.
const wordsVersion = 1

const schema = `
CREATE TABLE requests (
	id       INTEGER PRIMARY KEY, -- when its first message was stored, in units of 10 µs of Unix time; see newID
	company  INTEGER NOT NULL,
	request  INTEGER NOT NULL,
	state    INTEGER NOT NULL, -- index of States; -1: none, it is not shown
	recheck  INTEGER NOT NULL, -- Unix time in ms at which the state may change without a message; 0: none
	record   TEXT NOT NULL,    -- what the request is about: vendor "Acme"
	amount   TEXT NOT NULL,    -- decimal; '': none
	texts    TEXT NOT NULL,    -- of its payload; see content
	history  BLOB NOT NULL     -- its messages; see history.go
);
CREATE UNIQUE INDEX requests_request ON requests (request, company);
CREATE INDEX requests_recheck ON requests (recheck) WHERE recheck > 0;
CREATE TABLE facets (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE counts (company INTEGER, state INTEGER, n INTEGER NOT NULL, PRIMARY KEY (company, state)) WITHOUT ROWID;
CREATE TABLE minutes (minute INTEGER, company INTEGER, received INTEGER NOT NULL, closed INTEGER NOT NULL, failed INTEGER NOT NULL,
	PRIMARY KEY (minute, company)) WITHOUT ROWID;
CREATE TABLE streams (kind TEXT PRIMARY KEY, created INTEGER NOT NULL, next INTEGER NOT NULL, at INTEGER NOT NULL, kept INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE searchable (words INTEGER NOT NULL, upto INTEGER NOT NULL); -- the version of the terms; the highest request that has them in search
` + searchSchema

const searchSchema = `
CREATE VIRTUAL TABLE search USING fts5(document, content='', contentless_delete=1, detail=none, tokenize='ascii');
CREATE VIRTUAL TABLE terms USING fts5vocab(search, instance);
`

// unusable is the error for a file that this program can't bring to its version.
type unusable struct{ version int }

func (u *unusable) Error() string {
	if u.version > version {
		return fmt.Sprintf("it has version %d, which a newer program has written, and this program writes version %d; to have it again, stop the newer program and move it back", u.version, version)
	}
	return fmt.Sprintf("it has version %d, which is older than any that this program can read", u.version)
}

// open opens the file, creates the tables of an empty one, and brings the others to the present version.
func (x *Index) open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	f, err := os.OpenFile(x.path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite creates its further files with the same permissions
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if x.write, err = openDB(x.path, 1); err != nil {
		return err
	}
	if x.read, err = openDB(x.path, 4); err != nil {
		return err
	}
	if err := x.migrate(ctx); err != nil {
		return err
	}
	x.writer = writer{}
	if err := x.writer.load(ctx, x.write); err != nil {
		return err
	}
	var kept int64
	if err := x.write.QueryRowContext(ctx, "SELECT coalesce(max(kept), 0) FROM streams").Scan(&kept); err != nil {
		return err
	}
	x.kept.Store(kept)
	return x.reindex(ctx)
}

// migrate creates the tables of an empty file, and brings an older one to the present version.
func (x *Index) migrate(ctx context.Context) error {
	var is, tables int
	if err := x.write.QueryRowContext(ctx, "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version").Scan(&is, &tables); err != nil {
		return err
	}
	if tables == 0 {
		_, err := x.write.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s INSERT INTO searchable VALUES (%d, %d); PRAGMA user_version = %d; COMMIT;", schema, wordsVersion, math.MaxInt64, version))
		return err
	}
	for ; is != version; is++ {
		step, known := migrations[is]
		if !known {
			return &unusable{is}
		}
		x.o.Log.Info("the index is brought to the next version", zap.String("file", x.path), zap.Int("version", is+1))
		if _, err := x.write.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT;", step, is+1)); err != nil {
			return fmt.Errorf("version %d: %w", is+1, err)
		}
	}
	return nil
}

// reindex derives the terms of all requests again, if they have another version. After an interruption it continues.
func (x *Index) reindex(ctx context.Context) error {
	var is, upto, all, done int64
	if err := x.write.QueryRowContext(ctx, "SELECT words, upto FROM searchable").Scan(&is, &upto); err != nil {
		return err
	}
	if is != wordsVersion {
		if _, err := x.write.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; DROP TABLE terms; DROP TABLE search; %s UPDATE searchable SET words = %d, upto = -1; COMMIT;", searchSchema, wordsVersion)); err != nil {
			return err
		}
		upto = -1
	}
	if upto == math.MaxInt64 {
		return nil
	}
	defer x.o.Waiting(nil)
	if err := x.write.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(id <= ?), 0) FROM requests", upto).Scan(&all, &done); err != nil {
		return err
	}
	x.o.Log.Info("the words of all requests are indexed again", zap.String("file", x.path), zap.Int64("requests", all), zap.Int64("done", done))
	for began := time.Now(); upto < math.MaxInt64; {
		x.o.Waiting(fmt.Errorf("the words of all requests are indexed again: %d of %d", done, all))
		now := time.Now()
		err := x.rewrite(ctx, "SELECT "+entryColumns+" FROM requests WHERE id > ? ORDER BY id LIMIT ?", []any{upto, 10 * atOnce},
			func(some []*entry) ([]*entry, error) {
				done += int64(len(some))
				if upto = math.MaxInt64; len(some) == 10*atOnce {
					upto = some[len(some)-1].id
				}
				judgments := make([]judgment, len(some))
				concurrently(len(some), func(i int) { judgments[i] = x.judge(some[i], now) })
				for i, e := range some {
					if err := x.writer.set(e, judgments[i]); err != nil {
						return nil, err
					}
				}
				return some, nil
			},
			func(w *writer, ctx context.Context, some []*entry) error {
				if err := w.putTerms(ctx, some); err != nil {
					return err
				}
				_, err := w.tx.ExecContext(ctx, "UPDATE searchable SET upto = ?", upto)
				return err
			})
		if err != nil {
			return err
		}
		if upto == math.MaxInt64 {
			x.o.Log.Info("the words of all requests are indexed", zap.Duration("after", time.Since(began)))
		}
	}
	return nil
}

// putTerms writes the terms of entries that are not in the search table, and their states.
func (w *writer) putTerms(ctx context.Context, all []*entry) error {
	row, err := w.tx.PrepareContext(ctx, "UPDATE requests SET state = ?, recheck = ? WHERE id = ? AND (state, recheck) != (?1, ?2)")
	if err != nil {
		return err
	}
	insert, err := w.tx.PrepareContext(ctx, "INSERT INTO search (rowid, document) VALUES (?, ?)")
	if err != nil {
		return err
	}
	for _, e := range all {
		if _, err := row.ExecContext(ctx, e.state, e.recheck, e.id); err != nil {
			return err
		}
		w.counts[countKey{e.company, e.was}]--
		w.counts[countKey{e.company, e.state}]++
		if e.state >= 0 {
			if _, err := insert.ExecContext(ctx, e.id, e.terms); err != nil {
				return err
			}
		}
	}
	return nil
}

func openDB(path string, conns int) (*sql.DB, error) {
	q := url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "temp_store(MEMORY)", // a container may have no folder for temporary files
		"cache_size(-32768)", "wal_autocheckpoint(8000)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// replace moves the file aside and opens an empty one. The caller holds mu and writing, or has not shared x yet.
func (x *Index) replace(ctx context.Context, why error) error {
	if err := x.close(); err != nil {
		x.o.Log.Warn("closing the index", zap.Error(err))
	}
	aside := x.path + time.Now().UTC().Format(".20060102T150405.000000000Z")
	for _, suffix := range []string{"-wal", "-shm", ""} { // the name of the database last: after an interruption this is done again
		if err := os.Rename(x.path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	x.o.Log.Error("the index can't be used: it was moved aside, and is built again from what the streams still have; what only the old file has can't be searched",
		zap.String("file", x.path), zap.String("moved to", aside), zap.Error(why))
	x.damaged.Store(false)
	return x.open(ctx)
}

// corrupt reports whether SQLite can't read its file because of the content.
func corrupt(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqlite3.SQLITE_CORRUPT || lite.Code()&0xff == sqlite3.SQLITE_NOTADB)
}
