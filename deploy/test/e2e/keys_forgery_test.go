package endtoend

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// Outcomes published with a worker's key that are not the worker's to report do not reach Procore, and the events they name
// end as they would without them.
func TestStolenWorkerKeyCannotReportForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{backoff: 50 * time.Millisecond}) // the services' sweep waits 60 times as long before it closes what was dead-lettered
	away := w.down()
	g := newGuarded(t)
	g.provision(0)
	l := w.runApart(g, func() {})
	victim, own := w.press("create_vendor"), w.press("create_vendor")
	for _, clicked := range []int64{victim, own} {
		l.stored(bus.For(bus.Event, "create_vendor", firstCompany, clicked))
	}
	done := func(clicked int64, itemType string) *tiebackv1.CloseOut {
		r, ok := w.sandbox.Request(clicked)
		if !ok {
			t.Fatalf("no request %d", clicked)
		}
		d := r.Details[0]
		return &tiebackv1.CloseOut{RequestDetailId: d.ID, Status: tiebackv1.Status_STATUS_SUCCESS, Messages: []string{"forged"}, Marks: []*tiebackv1.Mark{{ItemType: itemType, ItemId: d.ItemID, OriginId: "V-666"}}}
	}
	whose := func(clicked int64) *tiebackv1.CloseOut {
		c := done(clicked, "vendor")
		c.Marks = nil
		return c
	}
	for _, f := range []struct {
		key, kind string
		request   int64
		company   int64 // in the body
		closeOut  *tiebackv1.CloseOut
	}{
		{"import", "_", victim, firstCompany, done(victim, "vendor")},
		{"unlink", "unlink_vendor", victim, firstCompany, whose(victim)},
		{"sync", "sync_vendors", victim, firstCompany, done(victim, "vendor")},
		{"reset", "reset_payment", victim, firstCompany + 1, whose(victim)},
		{"export", "create_vendor", own, firstCompany, done(own, "contract_payment")},
	} {
		data, err := proto.Marshal(&tiebackv1.Outcome{CompanyId: f.company, ErpRequestId: f.request, Type: f.kind, CloseOuts: []*tiebackv1.CloseOut{f.closeOut}})
		w.must(err)
		nc := g.as(f.key)
		ack, err := nc.Request(bus.For(bus.Outcome, f.kind, firstCompany, f.request).String(), data, 5*time.Second)
		w.must(err)
		if strings.Contains(string(ack.Data), "error") {
			t.Fatalf("%s: %s", f.key, ack.Data)
		}
		nc.Close()
	}
	var letters []request.DeadLetter
	for end := time.Now().Add(patience); len(letters) < 5 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		letters, err = request.DeadLetters(t.Context(), l.Bus, request.Filter{})
		w.must(err)
	}
	if len(letters) != 5 {
		t.Errorf("%d letters, want 5", len(letters))
	}
	for _, d := range letters {
		if d.Stage != "status-reporter" || d.Class != tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT || d.DeadLetter.Cause != tiebackv1.Cause_CAUSE_TIEBACK || !strings.Contains(d.Error, "refused") && !strings.Contains(d.Error, "differ from those in its subject") {
			t.Errorf("letter of %s: %s, %s: %s", d.Stage, d.Class, d.DeadLetter.Cause, d.Error)
		}
	}
	w.failed(own, "Contact the administrator of your ERP integration")
	if r := l.sweep(l.sweeper()); len(r.Closed) > 0 {
		t.Errorf("the sweep closed request details %v, while their event is in progress", r.Closed)
	}
	away.Store(false)
	r := w.wait(victim)
	if r.Outcome() != sandbox.Success || len(r.TooEarly) > 0 {
		t.Errorf("the victim's request ended %q: %+v", r.Outcome(), r)
	}
	for _, c := range w.sandbox.Calls() {
		if body := string(c.Body); strings.Contains(body, "V-666") || strings.Contains(body, "forged") {
			t.Errorf("Procore got %s %s", c.Path, body)
		}
	}
}
