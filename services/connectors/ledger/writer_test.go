package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// hold blocks the writer until the returned function is called, so that writes gather.
func hold(t testing.TB, b *Books) (release func()) {
	t.Helper()
	in, out := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.writer.do(context.Background(), func(*tx) error { close(in); <-out; return nil })
	}()
	<-in
	return func() {
		close(out)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedWriteDoesNotAffectOthers(t *testing.T) {
	b := open(t, t.TempDir())
	release := hold(t, b)
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range 50 {
		wg.Go(func() {
			r := &Record{Entity: Job, Name: fmt.Sprint("job ", i), Code: fmt.Sprint("J", i/2)} // every code twice
			_, err := b.Put(context.Background(), &tiebackv1.PutRequest{Key: fmt.Sprint(i), Record: r})
			if err != nil {
				refusal(t, err, "code")
				refused.Add(1)
			}
		})
	}
	release()
	wg.Wait()
	all, err := b.All(t.Context(), Job)
	if err != nil || len(all) != 25 || refused.Load() != 25 {
		t.Errorf("%d booked, %d refused, %v", len(all), refused.Load(), err)
	}
}

// An error that is not a refusal ends the transaction. The other writes are booked nevertheless, once.
func TestFailedWriteDoesNotAffectOthers(t *testing.T) {
	boom := errors.New("boom")
	ops := make([]*op, 3)
	for i := range ops {
		ops[i] = &op{done: make(chan struct{}), run: func(t *tx) error {
			if i == 1 {
				return boom
			}
			_, err := t.put(&tiebackv1.PutRequest{Key: fmt.Sprint(i), Record: &Record{Entity: Vendor, Name: "n"}})
			return err
		}}
	}
	w := bareWriter(t, t.TempDir()+"/x.db")
	w.commit(ops)
	if fault.ClassOf(ops[1].err) != fault.Transient || !errors.Is(ops[1].err, boom) || ops[0].err != nil || ops[2].err != nil {
		t.Errorf("%v, %v, %v", ops[0].err, ops[1].err, ops[2].err)
	}
	var n int
	count := &op{run: func(t *tx) error {
		_, err := t.get([]any{&n}, "SELECT count(*) FROM records")
		return err
	}}
	if w.transact([]*op{count}); count.err != nil || n != 2 {
		t.Errorf("%d booked, %v", n, count.err)
	}
}

// Another process holds the write lock. All waiting writes fail after one timeout, not each after its own.
func TestLockedFileIsTransient(t *testing.T) {
	dir := t.TempDir()
	w, other := bareWriter(t, dir+"/x.db"), bareWriter(t, dir+"/x.db")
	w.transact([]*op{{run: func(t *tx) error { return nil }}}) // opens the connection
	if _, err := w.conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 20"); err != nil {
		t.Fatal(err)
	}
	lock, err := other.begin()
	if err != nil {
		t.Fatal(err)
	}
	ops := make([]*op, 20)
	for i := range ops {
		ops[i] = &op{done: make(chan struct{}), run: func(*tx) error { t.Error("ran without the lock"); return nil }}
	}
	w.commit(ops)
	for _, o := range ops {
		var known *fault.Error
		if !errors.As(o.err, &known) || known.Class != fault.Transient {
			t.Errorf("got %v", o.err)
		}
	}
	if err := lock.exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	next := &op{run: func(*tx) error { return nil }}
	if w.transact([]*op{next}); next.err != nil {
		t.Errorf("after the lock is gone: %v", next.err)
	}
}

// bareWriter returns a writer without a goroutine, so that the test makes the groups.
func bareWriter(t *testing.T, path string) *writer {
	t.Helper()
	db, err := openDB(t.Context(), path, 1)
	if err == nil {
		_, err = db.Exec(schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := openMark(t.Context(), path)
	if err == nil {
		err = m.share()
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{db: db, mark: m, stop: make(chan struct{})}
	t.Cleanup(func() { _ = errors.Join(w.Stop(), m.close()) })
	return w
}

// Several processes start with an empty folder.
func TestNewFileIsOpenedConcurrently(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := Open(dir)
			defer l.Close()
			b, err := l.Company(context.Background(), company)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := b.Add(context.Background(), &Record{Entity: Vendor, Name: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := open(t, dir).All(t.Context(), Vendor); err != nil || len(all) != 8 {
		t.Errorf("%d vendors, %v", len(all), err)
	}
}

func TestContextEndsBeforeTheWrite(t *testing.T) {
	b := open(t, t.TempDir())
	release := hold(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() {
		_, err := b.Add(ctx, &Record{Entity: Vendor, Name: "never"})
		errs <- err
	}()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	release()
	if _, err := b.Add(ctx, &Record{Entity: Vendor, Name: "never"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if all, err := b.All(t.Context(), Vendor); err != nil || len(all) != 0 {
		t.Errorf("booked %v, %v", all, err)
	}
}

func TestStopWhileWriting(t *testing.T) {
	b := open(t, t.TempDir())
	var wg sync.WaitGroup
	var booked atomic.Int32
	for i := range 40 {
		wg.Go(func() {
			_, err := b.Add(context.Background(), &Record{Entity: Vendor, Name: fmt.Sprint(i)})
			if err == nil {
				booked.Add(1)
			} else if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			if i == 20 {
				_ = b.writer.Stop()
			}
		})
	}
	wg.Wait()
	if all, err := b.All(t.Context(), Vendor); err != nil || len(all) != int(booked.Load()) {
		t.Errorf("%d in the books, %d confirmed, %v", len(all), booked.Load(), err)
	}
}

// BenchmarkPut books requisitions of one line from 64 goroutines, each synced to disk.
func BenchmarkPut(b *testing.B) {
	books := open(b, b.TempDir())
	s := build(b, books)
	var n atomic.Int64
	b.SetParallelism(32) // times GOMAXPROCS, 2 here
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := books.Put(context.Background(), &tiebackv1.PutRequest{Key: fmt.Sprint(n.Add(1)), Record: s.requisition("100.25", "10")})
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "bookings/s")
	balanced(b, books)
}

// BenchmarkPutAlone books one record after the other, each in its own commit.
func BenchmarkPutAlone(b *testing.B) {
	books := open(b, b.TempDir())
	s := build(b, books)
	for i := range b.N {
		put(b, books, fmt.Sprint(i), s.requisition("100.25", "10"))
	}
}

// In a container that may write only to its data folder, SQLite has no place for temporary files.
func TestNoTemporaryFilesOutsideTheDataFolder(t *testing.T) {
	db, err := openDB(t.Context(), t.TempDir()+"/x.db", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var store int
	if err := db.QueryRowContext(t.Context(), "PRAGMA temp_store").Scan(&store); err != nil || store != 2 {
		t.Errorf("temp_store is %d, %v; want 2, memory", store, err)
	}
}
