// Package index is the console's search index: one SQLite file with a row for each ERP request. It is built from the
// pipeline's streams and can be built again from them at any time: delete the file. It keeps a request for a year, which is
// longer than the streams keep its messages.
//
//	Open     opens the file, or brings it to the present version
//	Run      follows the streams; the only writer
//	Search   pages of requests, the newest first or the failed first, by words and filters
//	Find     the requests that a person may mean by an id, a number or a name
//	Get      one request with its messages, as package request reads them from the streams
//	Counts   totals for overview pages
//
// A row has the request's messages without payloads, from which package request derives what is shown. The index has no
// answers of its own.
//
// # What is stored
//
// The streams' messages without an event's payload, a dead letter's message, an edit's difference, a delivery's user and the
// marks of an outcome. Of a payload only the ids of its request details and the names, codes, numbers and amounts of its
// records are stored, as canonical records have them. The file is readable by its owner only.
//
// # Search
//
// The words of a request are one document of an FTS5 table. Its values of each filter (company, type, category, state) are
// words too: a character of a private use area, which text never contains. So a search with filters is one intersection,
// read from the newest row on, and ends with the page.
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/request"
)

// DefaultKeep is Options.Keep where that is 0.
const DefaultKeep = 366 * 24 * time.Hour

// Options are the options of Open. The zero value is usable.
type Options struct {
	Keep  time.Duration                     // for how long after its last message a request is kept; 0: DefaultKeep
	Rules func(company int64) request.Rules // what a company's requests are judged by; nil: the zero Rules. It may be called concurrently
	Log   *zap.Logger                       // nil: none

	// Waiting is called with the reason while Open waits, and with nil once it does not. It may be nil.
	Waiting func(why error)
}

// Index is an open index. All methods may be called concurrently.
type Index struct {
	path string
	o    Options
	lock *os.File // locked for as long as the index is open

	mu          sync.RWMutex // locked while the file is replaced; read-locked by all that use it
	read, write *sql.DB

	writing    sync.Mutex // guards writer, and orders transactions
	writer     writer
	kept       atomic.Int64  // how long the streams keep messages, as time.Duration
	searchTime time.Duration // see Search; a test sets it
	every      time.Duration // the interval of Run; a test sets it
	damaged    atomic.Bool   // a query found the file corrupt: Run replaces it

	statusMu sync.Mutex
	status   Status
}

// Open opens the index at path and creates it if there is none. A file of an older version is brought to the present one, with all
// that it has. A file that is corrupt or has a newer version is moved aside and replaced by an empty index, which Run fills from
// what the streams have. Close the index after Run has returned.
//
// Only one process can have the file open. While another one has it, Open waits until ctx ends. If an interrupted Open had to index
// words again, the next one continues.
func Open(ctx context.Context, path string, o Options) (*Index, error) {
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Rules == nil {
		o.Rules = func(int64) request.Rules { return request.Rules{} }
	}
	if o.Waiting == nil {
		o.Waiting = func(error) {}
	}
	path, err := filepath.Abs(path) // the database's name is a URI
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	x := &Index{path: path, o: o, searchTime: searchTime, every: followEvery}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if x.lock, err = lock(ctx, path+".lock", o); err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	err = x.open(ctx)
	if replace := (*unusable)(nil); errors.As(err, &replace) || corrupt(err) {
		err = x.replace(ctx, err)
	}
	if err != nil {
		_ = x.lock.Close() // err is the cause
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	return x, nil
}

func (x *Index) close() (err error) {
	for _, db := range []*sql.DB{x.read, x.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	x.read, x.write = nil, nil
	return err
}

// Close closes the file. No other method may be called afterwards.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return errors.Join(x.close(), x.lock.Close())
}

// reading calls f with the readers' connections. A corrupt file is noted for Run.
func (x *Index) reading(f func(db *sql.DB) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.read == nil {
		return errors.New("index: it is closed")
	}
	err := f(x.read)
	if corrupt(err) {
		x.damaged.Store(true)
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCursor) {
		return fmt.Errorf("index: %w", err)
	}
	return err
}

// transaction calls f in a transaction of the writer.
func (x *Index) transaction(ctx context.Context, f func(tx *sql.Tx) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.write == nil {
		return errors.New("index: it is closed")
	}
	tx, err := x.write.BeginTx(ctx, nil)
	if err == nil {
		if err = f(tx); err == nil {
			err = tx.Commit()
		} else {
			_ = tx.Rollback() // f's error is the cause
		}
	}
	if err == nil {
		return nil
	}
	if corrupt(err) {
		x.damaged.Store(true)
	}
	x.writer = writer{}
	if again := x.writer.load(context.Background(), x.write); again != nil {
		err = errors.Join(err, again)
	}
	return fmt.Errorf("index: %w", err)
}

// unit is the unit of a row's id.
const unit = 10 * time.Microsecond

// idAt returns the lowest id of a request that arrived at t or later. Times that ids can't have are the lowest or highest id.
func idAt(t time.Time) int64 {
	switch {
	case t.Unix() <= 0:
		return 0
	case t.Year() > 2500:
		return math.MaxInt64
	}
	return (t.UnixMicro() + int64(unit/time.Microsecond) - 1) / int64(unit/time.Microsecond)
}

// timeOf returns the time of an id.
func timeOf(id int64) time.Time { return time.UnixMicro(id * int64(unit/time.Microsecond)).UTC() }

// Status says how far the index has come.
type Status struct {
	Complete time.Time // when Run last had read all that the streams have; zero: not since Open
	Behind   uint64    // messages of the streams that are not in the index, as of Run's last look
	Err      error     // why Run can't read or write; nil: it can
}

// Status returns how far the index has come.
func (x *Index) Status() Status {
	x.statusMu.Lock()
	defer x.statusMu.Unlock()
	return x.status
}

func (x *Index) setStatus(set func(*Status)) {
	x.statusMu.Lock()
	defer x.statusMu.Unlock()
	set(&x.status)
}
