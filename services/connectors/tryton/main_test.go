package tryton_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/services/connectors/tryton"
	"github.com/tieback/tieback/services/connectors/tryton/local"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const company = 7

// shared is the Tryton of all tests that do not kill it.
var shared struct {
	once   sync.Once
	server *local.Server
	dir    string
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		_ = shared.server.Close()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// needTryton skips the test if there is no Tryton. In CI it fails the test instead.
func needTryton(t *testing.T) {
	t.Helper()
	err := local.Available()
	switch {
	case err == nil && testing.Short():
		t.Skip("LEFT OUT, with -short: the test against a real Tryton")
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skipf("LEFT OUT, the test against a real Tryton: %v", err)
	}
}

func startTryton(ctx context.Context) (*local.Server, string, error) {
	dir, err := os.MkdirTemp("", "tieback-tryton-test-")
	if err != nil {
		return nil, "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the database runs as a user of its own
		return nil, dir, err
	}
	s, err := local.Start(ctx, dir)
	return s, dir, err
}

func theTryton(t *testing.T) *local.Server {
	t.Helper()
	needTryton(t)
	s, err := theServer()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func theServer() (*local.Server, error) {
	shared.once.Do(func() { shared.server, shared.dir, shared.err = startTryton(context.Background()) })
	return shared.server, shared.err
}

// ownTryton returns a Tryton that the test may kill.
func ownTryton(t *testing.T) *local.Server {
	t.Helper()
	needTryton(t)
	s, dir, err := startTryton(t.Context())
	t.Cleanup(func() {
		if s != nil {
			_ = s.Close()
		}
		if t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(dir, "trytond.log"))
			t.Logf("%s", raw[max(0, len(raw)-4000):])
		}
		_ = os.RemoveAll(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, s *local.Server) connector.Driver {
	t.Helper()
	d, err := openOn(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openOn(ctx context.Context, s *local.Server) (connector.Driver, error) {
	return tryton.Open(ctx, company, s.Settings())
}

// world has the master data that documents refer to. Each test has its own job.
type world struct {
	*testing.T
	driver connector.Driver

	vendor, job, code, category string
}

var (
	serial atomic.Int64
	start  = time.Now().UnixMilli() % 1_000_000
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, driver: open(t, theTryton(t))}
	w.master()
	return w
}

func (w *world) master() {
	w.vendor = w.put(&tiebackv1.Record{Entity: vendor, Name: "Acme Steel", Code: unique("V")}).OriginId
	w.job = w.put(&tiebackv1.Record{Entity: job, Name: "Tower", Code: unique("J")}).OriginId
	w.code = w.put(&tiebackv1.Record{Entity: costCode, Name: "Steel", Code: "05-100", JobOriginId: w.job}).OriginId
	w.category = w.put(&tiebackv1.Record{Entity: category, Name: "Materials", Code: unique("M")}).OriginId
}

// unique returns a code that no other record has.
func unique(prefix string) string { return fmt.Sprintf("%s%d-%d", prefix, start, serial.Add(1)) }

func (w *world) request(r *tiebackv1.Record) *tiebackv1.PutRequest {
	if r.ProcoreId == 0 {
		r.ProcoreId = 1<<40 + start<<20 + serial.Add(1)
	}
	return &tiebackv1.PutRequest{CompanyId: company, Key: fmt.Sprintf("%d/%d/%d/0", company, r.Entity, r.ProcoreId), Record: r, Request: by(10).Request(), Order: string(by(10)), OrderLatest: string(by(10).Latest()), Stamp: "10:abc"}
}

// by returns the key of the nth request. Ids decrease with time. 0 stands for a user of the ERP, who has no request.
func by(n int) order.Key {
	if n == 0 {
		return ""
	}
	return order.New(time.UnixMicro(int64(n)), int64(1000-n))
}

func (w *world) put(r *tiebackv1.Record) *tiebackv1.Booking {
	w.Helper()
	a, err := w.driver.Put(w.Context(), w.request(r))
	if err != nil {
		w.Fatalf("put %v: %v", r, err)
	}
	return a.Booking
}

func (w *world) state(e tiebackv1.Entity, origin string) tiebackv1.RecordState {
	w.Helper()
	a, err := w.driver.State(w.Context(), &tiebackv1.StateRequest{CompanyId: company, Entity: e, OriginId: origin})
	if err != nil {
		w.Fatal(err)
	}
	return a.State
}

func (w *world) remove(e tiebackv1.Entity, origin string) error {
	_, err := w.driver.Remove(w.Context(), &tiebackv1.RemoveRequest{CompanyId: company, Entity: e, OriginId: origin, Key: "reset"})
	return err
}

// list returns all changes since a cursor.
func (w *world) list(e tiebackv1.Entity, cursor string, limit int32) (map[string]*tiebackv1.Change, string) {
	w.Helper()
	out := map[string]*tiebackv1.Change{}
	for {
		a, err := w.driver.List(w.Context(), &tiebackv1.ListRequest{CompanyId: company, Entity: e, Cursor: cursor, Limit: limit})
		if err != nil {
			w.Fatal(err)
		}
		for _, c := range a.Changes {
			out[c.Record.OriginId] = c
		}
		cursor = a.Cursor
		if !a.More {
			return out, cursor
		}
	}
}

const (
	vendor      = tiebackv1.Entity_ENTITY_VENDOR
	job         = tiebackv1.Entity_ENTITY_JOB
	subJob      = tiebackv1.Entity_ENTITY_SUB_JOB
	costCode    = tiebackv1.Entity_ENTITY_COST_CODE
	category    = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	standard    = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	assignment  = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	jobCost     = tiebackv1.Entity_ENTITY_JOB_COST
	commitment  = tiebackv1.Entity_ENTITY_COMMITMENT
	changeOrder = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	requisition = tiebackv1.Entity_ENTITY_REQUISITION
	payment     = tiebackv1.Entity_ENTITY_PAYMENT
	prime       = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	primeChange = tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER
	application = tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION
	directCost  = tiebackv1.Entity_ENTITY_DIRECT_COST

	present = tiebackv1.RecordState_RECORD_STATE_PRESENT
	deleted = tiebackv1.RecordState_RECORD_STATE_DELETED
	unknown = tiebackv1.RecordState_RECORD_STATE_UNKNOWN
)
