package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/tieback/run"
)

// databases returns the databases that exist under TIEBACK_DATA: the books of the embedded ERP and the console's index.
func databases(data string) ([]database, error) {
	found, err := filepath.Glob(filepath.Join(run.LedgerDir(data), "*.db"))
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	if index := console.IndexPath(data); exists(index) {
		found = append(found, index)
	}
	all := make([]database, 0, len(found))
	for _, f := range found {
		below, err := filepath.Rel(data, f)
		if err != nil {
			return nil, err
		}
		all = append(all, database{path: f, file: filepath.ToSlash(below)})
	}
	return all, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// openDatabase opens an SQLite file for reading. Another process may write to it.
func openDatabase(file string) (*sql.DB, error) {
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}).String())
}

// copyDatabase writes a copy of an SQLite file to w, as it is at one moment. The copy needs room in the folder for temporary files.
func copyDatabase(ctx context.Context, file string, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "tieback-backup-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := openDatabase(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	to := filepath.Join(dir, "copy.db")
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return err
	}
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(w, f)
	return err
}

// checkDatabase reads a whole SQLite file and returns what is wrong with it.
func checkDatabase(ctx context.Context, file string) (err error) {
	db, err := openDatabase(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("the database is damaged: %s", result)
	}
	return nil
}
