package backup

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// rig is a data folder with an embedded broker that has messages, a key for backups, and a location.
type rig struct {
	*testing.T
	identity, recipient string
	to                  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	commandtest.Settings(t, 7)
	r := &rig{T: t, identity: filepath.Join(t.TempDir(), "key"), to: t.TempDir()}
	code, out, errs := commandtest.Run(t.Context(), Command(), "key "+r.identity)
	if code != 0 {
		t.Fatal(errs)
	}
	r.recipient = strings.TrimSpace(out)
	return r
}

// backs runs `tieback backup line` and demands an exit code and a text.
func (r *rig) backs(line string, code int, want string) string {
	r.Helper()
	is, out, errs := commandtest.Run(r.Context(), Command(), line)
	if is != code || !strings.Contains(out+errs, want) {
		r.Fatalf("backup %s: exit code %d, want %d and %q\n%s%s", line, is, code, want, out, errs)
	}
	return out
}

func (r *rig) restores(line string, code int, want string) {
	r.Helper()
	if is, out, errs := commandtest.Run(r.Context(), RestoreCommand(), line); is != code || !strings.Contains(out+errs, want) {
		r.Fatalf("restore %s: exit code %d, want %d and %q\n%s%s", line, is, code, want, out, errs)
	}
}

// fill publishes n dead letters and as many keys of the state bucket, and consumes half of a stream.
func fill(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	for i := range n {
		m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, int64(i+1)), Stream: bus.Event.Stream(), Sequence: uint64(i + 1), Data: bytes.Repeat([]byte("secret payload "), 200)} //nolint:gosec // a count
		m.RawSubject = m.Subject.String()
		if err := b.DeadLetter(t.Context(), "export", m, errors.New("a mistake")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.JetStream().Publish(t.Context(), topology.State.Subject(fmt.Sprintf("link.7.vendor.%d", i)), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
}

// newData moves to a data folder that is empty.
func newData(t *testing.T) { t.Setenv("TIEBACK_DATA", t.TempDir()) }

func TestBackupIsRestoredAsItWas(t *testing.T) {
	r := newRig(t)
	b, leave := commandtest.Embedded(t)
	fill(t, b, 50)
	before, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	want, err := before.GetMsg(t.Context(), 17)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	books := filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db")
	table(t, books)

	r.backs(r.to+" --recipient "+r.recipient, 0, "is complete")
	r.noPlaintext()
	r.backs("verify "+r.to, 1, "give --identity")
	r.backs("verify "+r.to+" --identity "+r.identity, 0, "can be restored")
	id := strings.TrimSpace(r.backs("list "+r.to, 0, "Z\n"))

	r.restores(r.to+" --identity "+r.identity, 1, "restore replaces nothing")
	newData(t)
	r.restores(r.to+" "+id+" --identity "+r.identity, 0, "is restored")
	b, leave = commandtest.Embedded(t)
	defer leave()
	after, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	has, err := after.GetMsg(t.Context(), 17)
	if err != nil || !bytes.Equal(has.Data, want.Data) || has.Subject != want.Subject || !has.Time.Equal(want.Time) || !slices.Equal(has.Header["Nats-Msg-Id"], want.Header["Nats-Msg-Id"]) {
		t.Errorf("message 17 is %v at %s: %v; it was %v at %s", has.Header, has.Time, err, want.Header, want.Time)
	}
	if losses, err := b.Losses(t.Context()); err != nil || len(losses) > 0 {
		t.Errorf("losses %v: %v", losses, err)
	}
	if err := checkDatabase(t.Context(), filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db")); err != nil {
		t.Error(err)
	}
}

// If only the broker is lost, its streams are restored, and the newer databases stay.
func TestRestoreKeepsDatabases(t *testing.T) {
	r := newRig(t)
	b, leave := commandtest.Embedded(t)
	fill(t, b, 5)
	leave()
	data := os.Getenv("TIEBACK_DATA")
	books := filepath.Join(data, "ledger", "7.db")
	if err := os.MkdirAll(filepath.Dir(books), 0o700); err != nil {
		t.Fatal(err)
	}
	execute(t, books, "CREATE TABLE a (b); INSERT INTO a VALUES (1)")
	r.backs(r.to+" --no-encryption", 0, "is complete")
	execute(t, books, "INSERT INTO a VALUES (2)")
	if err := os.RemoveAll(filepath.Join(data, "jetstream")); err != nil {
		t.Fatal(err)
	}
	r.restores(r.to, 1, "--keep-databases")
	r.restores(r.to+" --keep-databases", 0, "7.db: is kept as it is")
	b, leave = commandtest.Embedded(t)
	if n, err := b.LastSequence(t.Context(), bus.Dead); n != 5 || err != nil {
		t.Errorf("%d dead letters are restored, %v", n, err)
	}
	leave()
	if n := count(t, books); n != 2 {
		t.Errorf("the books have %d rows, want 2: they were replaced", n)
	}

	newData(t)
	wal := filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db-wal")
	if err := os.MkdirAll(filepath.Dir(wal), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wal, []byte("of another database"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.restores(r.to+" --keep-databases", 1, "move it away first")
}

// execute executes statements on an SQLite file, and closes it.
func execute(t *testing.T, file, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), statements)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// count returns the number of rows of the table a.
func count(t *testing.T, file string) (n int) {
	t.Helper()
	db, err := openDatabase(file)
	if err != nil {
		t.Fatal(err)
	}
	err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&n)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

// noPlaintext demands that no stored file has a payload.
func (r *rig) noPlaintext() {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.to, "*", "*"))
	if err != nil || len(files) < len(streams())+2 {
		r.Fatalf("%d files: %v", len(files), err)
	}
	for _, f := range files {
		if raw, err := os.ReadFile(f); err != nil || filepath.Base(f) != manifestName && !bytes.HasPrefix(raw, []byte("age-encryption.org/v1")) || bytes.Contains(raw, []byte("secret payload")) {
			r.Errorf("%s is not encrypted: %v", f, err)
		}
	}
}

// table creates a small SQLite file that another connection keeps open.
func table(t *testing.T, file string) *sql.DB {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE a (b); INSERT INTO a VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	return db
}

// A consumer that has processed a message of a restored stream is not given it again, and what it had not processed it is given.
// While messages move through the stages, each one is in the backup as unfinished, or its successor is.
func TestBackupUnderLoadLosesNoMessage(t *testing.T) {
	r := newRig(t)
	ns := bustest.Start(t, server.Options{Port: -1})
	t.Setenv("TIEBACK_NATS_URL", ns.ClientURL())
	b, err := bus.Connect(t.Context(), bus.Options{URL: ns.ClientURL(), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := bus.SetUp(t.Context(), bus.Options{URL: ns.ClientURL(), Log: zap.NewNop()}, func(string, string) {}); err != nil { // the consumers
		t.Fatal(err)
	}
	var published atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // deliveries become events as fast as they can
		defer close(ended)
		for i := int64(1); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := b.Publisher(bus.Delivery).Publish(t.Context(), bus.IfAbsent(&nats.Msg{Subject: bus.For(bus.Delivery, "", 7, i).String(), Data: []byte("{}")})); err != nil {
				t.Error(err)
				return
			}
			published.Store(i)
		}
	}()
	c, err := b.JetStream().Consumer(t.Context(), bus.Delivery.Stream(), "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	moving, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		for {
			m, err := moving.Next()
			if err != nil {
				return
			}
			s, err := bus.Parse(m.Subject())
			if err == nil {
				err = b.Publisher(bus.Event).Publish(t.Context(), bus.IfAbsent(&nats.Msg{Subject: bus.For(bus.Event, "create_vendor", 7, s.Request).String(), Data: []byte("{}")}))
			}
			if err == nil {
				err = m.DoubleAck(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for published.Load() < 200 {
	}
	first := published.Load()
	r.backs(r.to+" --no-encryption", 0, "is complete")
	if published.Load() == first {
		t.Fatal("nothing was published during the backup")
	}
	close(stop)
	<-ended
	moving.Stop()
	<-moved

	fresh := bustest.Start(t, server.Options{Port: -1})
	t.Setenv("TIEBACK_NATS_URL", fresh.ClientURL())
	r.restores(r.to, 0, "is restored")
	rb, err := bus.Connect(t.Context(), bus.Options{URL: fresh.ClientURL(), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer rb.Close()
	unfinished := map[int64]bool{}
	rc, err := rb.JetStream().Consumer(t.Context(), bus.Delivery.Stream(), "fetcher")
	if err != nil {
		t.Fatal(err)
	}
	info, err := rc.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := rc.FetchNoWait(int(info.NumPending) + info.NumAckPending + 1) //nolint:gosec // a count
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		s, err := bus.Parse(m.Subject())
		if err != nil {
			t.Fatal(err)
		}
		unfinished[s.Request] = true
	}
	events := map[int64]bool{}
	if err := rb.Scan(t.Context(), bus.Scan{Kind: bus.Event}, func(m bus.Message) error { events[m.Subject.Request] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	deliveries := 0
	err = rb.Scan(t.Context(), bus.Scan{Kind: bus.Delivery}, func(m bus.Message) error {
		deliveries++
		if n := m.Subject.Request; !events[n] && !unfinished[n] && info.NumAckPending == 0 {
			t.Errorf("delivery %d is finished and has no event", n)
		}
		return nil
	})
	if err != nil || int64(deliveries) < first {
		t.Errorf("%d deliveries, want at least %d: %v", deliveries, first, err)
	}
}

func TestChangedBackupIsRefused(t *testing.T) {
	r := newRig(t)
	b, leave := commandtest.Embedded(t)
	fill(t, b, 5)
	leave()
	r.backs(r.to+" --no-encryption", 0, "is complete")
	files, err := filepath.Glob(filepath.Join(r.to, "*", bus.Dead.Stream()))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string][]byte{
		"shorter": raw[:len(raw)-1], "longer": append(slices.Clone(raw), 0), "other": append(slices.Clone(raw[:len(raw)-1]), raw[len(raw)-1]^1), "empty": nil,
	} {
		if err := os.WriteFile(files[0], changed, 0o600); err != nil {
			t.Fatal(err)
		}
		newData(t)
		r.restores(r.to, 1, "has changed since the backup was made")
		if found, _ := filepath.Glob(filepath.Join(os.Getenv("TIEBACK_DATA"), "jetstream", "jetstream", "$G", "streams", "*")); len(found) > 0 {
			t.Errorf("%s: streams were restored: %v", name, found)
		}
	}
}

// A copy that lacks messages which the broker had when it began is not reported as restorable, although its checksum is right.
func TestIncompleteCopyIsRefused(t *testing.T) {
	r := newRig(t)
	b, leave := commandtest.Embedded(t)
	fill(t, b, 5)
	leave()
	r.backs(r.to+" --no-encryption", 0, "is complete")
	files, err := filepath.Glob(filepath.Join(r.to, "*", manifestName))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	more := bytes.ReplaceAll(raw, []byte(`"messages": 5,
        "first": 1,
        "last": 5`), []byte(`"messages": 6,
        "first": 1,
        "last": 6`))
	if bytes.Equal(raw, more) {
		t.Fatalf("%s", raw)
	}
	if err := os.WriteFile(files[0], more, 0o600); err != nil {
		t.Fatal(err)
	}
	r.backs("verify "+r.to, 1, "the copy is not complete")
}

// Bad usage, and a store that fails, have errors that say what to do.
func TestMistakesOfBackups(t *testing.T) {
	r := newRig(t)
	r.backs(r.to, 2, "--recipient is missing")
	r.backs(r.to+" --recipient age1x", 2, "is no public key of age")
	r.backs(r.to+" --no-encryption --recipient "+r.recipient, 2, "give one of them")
	r.backs("ftp://x --no-encryption", 2, "give a folder, or s3://bucket")
	r.backs("s3://b/p?endpont=x --no-encryption", 2, "unknown parameter")
	r.backs("verify "+r.to, 1, "has no finished backup")
	r.backs("key "+r.identity, 1, "exists")
	r.restores(r.to, 1, "has no finished backup")
	r.restores(r.to+" x --identity "+r.to, 2, "--identity")
	_, leave := commandtest.Embedded(t)
	leave()
	file := filepath.Join(r.to, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.backs(file+" --no-encryption", 1, "no backup was made")
}

func TestBackupToS3(t *testing.T) {
	r := newRig(t)
	backend := s3mem.New()
	if err := backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(gofakes3.New(backend).Server())
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	to := "s3://backups/tieback?region=eu-1&ca_file=" + ca + "&endpoint=" + srv.URL
	b, leave := commandtest.Embedded(t)
	fill(t, b, 20)
	leave()
	r.backs("verify "+to, 1, "has no finished backup")
	r.backs(to+" --recipient "+r.recipient, 0, "is complete")
	r.backs("verify "+to+" --identity "+r.identity, 0, "can be restored")
	newData(t)
	r.restores(to+" --identity "+r.identity, 0, "is restored")
	r.restores(to+" --identity "+r.identity, 0, "is there already") // an interrupted restore may be repeated
}

// A restore that was interrupted may be repeated, also after keys of the bucket have expired, and after a database was restored.
func TestInterruptedRestoreIsRepeated(t *testing.T) {
	r := newRig(t)
	b, leave := commandtest.Embedded(t)
	fill(t, b, 5)
	if _, err := b.JetStream().PublishMsg(t.Context(), &nats.Msg{
		Subject: topology.State.Subject("trouble.7.erp.export"), Header: nats.Header{jetstream.MsgTTLHeader: {"4s"}},
	}); err != nil {
		t.Fatal(err)
	}
	leave()
	table(t, filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db"))
	r.backs(r.to+" --no-encryption", 0, "is complete")
	newData(t)
	r.restores(r.to, 0, "is restored")
	b, leave = commandtest.Embedded(t)
	if err := b.JetStream().DeleteStream(t.Context(), bus.Closed.Stream()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	leave()
	r.restores(r.to, 0, "is restored")

	books := filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db")
	if err := os.WriteFile(books, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.restores(r.to, 1, "restore replaces nothing")
}

// A database that was lost may have left its write-ahead log. SQLite would apply it to the restored file.
func TestDatabaseIsNotRestoredBesideAnOldLog(t *testing.T) {
	r := newRig(t)
	_, leave := commandtest.Embedded(t)
	leave()
	books := filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db")
	db := table(t, books)
	r.backs(r.to+" --no-encryption", 0, "is complete")
	if _, err := db.ExecContext(t.Context(), "INSERT INTO a VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(books + "-wal")
	if err != nil || len(raw) == 0 {
		t.Fatal(len(raw), err)
	}
	newData(t)
	books = filepath.Join(os.Getenv("TIEBACK_DATA"), "ledger", "7.db")
	if err := os.MkdirAll(filepath.Dir(books), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(books+"-wal", raw, 0o600); err != nil { // as it is after a crash
		t.Fatal(err)
	}
	r.restores(r.to, 1, "7.db-wal exists")
	if err := os.Remove(books + "-wal"); err != nil {
		t.Fatal(err)
	}
	r.restores(r.to, 0, "is restored")
	restored, err := openDatabase(books)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = restored.Close() }()
	var rows int
	if err := restored.QueryRowContext(t.Context(), "SELECT count(*) FROM a").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, want that of the backup: %v", rows, err)
	}
}

// changing is a store that calls change after it has got the first bytes of a file.
type changing struct {
	folder
	file   string
	change func()
}

func (c changing) write(ctx context.Context, name string, r io.Reader) error {
	if path.Base(name) != c.file {
		return c.folder.write(ctx, name, r)
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		return err
	}
	c.change()
	return c.folder.write(ctx, name, io.MultiReader(bytes.NewReader(first), r))
}

// A bucket has only the newest message of a key, so a key that is written while its bucket is copied is missing in the copy. The
// backup can be restored anyway.
func TestKeyIsWrittenDuringTheCopy(t *testing.T) {
	for _, bucket := range []topology.Bucket{topology.Seen, topology.State} {
		o := bus.Options{URL: bustest.Start(t, server.Options{Port: -1}).ClientURL(), Log: zap.NewNop()}
		b, err := bus.Connect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		put := func(key string, value []byte) {
			t.Helper()
			if _, err := b.JetStream().Publish(t.Context(), bucket.Subject(key), value); err != nil {
				t.Fatal(err)
			}
		}
		random := rand.NewChaCha8([32]byte{})
		for i := range 12 { // more than the broker reads before the first chunk is acknowledged
			value := make([]byte, 1<<20-1<<10)
			_, _ = random.Read(value)
			put(fmt.Sprint("large", i), value)
		}
		put("k", nil)
		copier, err := bus.ConnectCopier(o)
		if err != nil {
			t.Fatal(err)
		}
		defer copier.Close()
		silent := func(string, ...any) {}
		to := changing{folder(t.TempDir()), bucket.Stream(), func() { put("k", nil) }}
		m, err := maker{to: to, copier: copier, progress: silent}.run(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		a, err := openArchive(t.Context(), to, m.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		var lines strings.Builder
		if err := verify(t.Context(), a, func(f string, args ...any) { fmt.Fprintf(&lines, f+"\n", args...) }); err != nil {
			t.Errorf("%s: %v", bucket, err)
		}
		if !strings.Contains(lines.String(), "1 keys expired, or were changed while the backup was made") {
			t.Errorf("%s: verify says\n%s", bucket, &lines)
		}
	}
}

// Every stream that must not lose messages is in a backup.
func TestBackupHasAllStreams(t *testing.T) {
	for _, s := range topology.Streams(topology.Config{}) {
		if slices.Contains(streams(), s.Name) == s.Volatile {
			t.Errorf("%s: volatile %v, in a backup %v", s.Name, s.Volatile, slices.Contains(streams(), s.Name))
		}
	}
}
