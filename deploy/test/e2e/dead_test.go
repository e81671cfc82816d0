package endtoend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/sandbox"
)

// resolver resolves dead letters for the tests.
func (l *line) resolver(who string) *dead.Resolver { return &dead.Resolver{Bus: l.Bus, Who: who} }

// listed waits for n dead letters and returns them.
func (l *line) listed(n int) []request.DeadLetter {
	l.world.Helper()
	l.await(bus.Dead, n)
	all, err := request.DeadLetters(l.world.Context(), l.Bus, request.Filter{})
	l.world.must(err)
	if len(all) != n {
		l.world.Fatalf("%d dead letters, want %d: %v", len(all), n, all)
	}
	return all
}

// ends replays dead letters and waits until they are closed.
func (l *line) ends(replay func(*dead.Resolver, uint64) (dead.Resolution, error), ids ...uint64) map[uint64]dead.End {
	l.world.Helper()
	ctx, cancel := context.WithTimeout(l.world.Context(), patience)
	defer cancel()
	resolver := l.resolver("ann@office")
	watch, err := resolver.Watch(ctx)
	l.world.must(err)
	var sent []*tiebackv1.Resolution
	dead.ResolveAll(ctx, ids, func(_ context.Context, id uint64) (dead.Resolution, error) { return replay(resolver, id) }, func(r dead.Result) {
		l.world.must(r.Err)
		sent = append(sent, r.Resolution.Resolution)
	})
	ends := map[uint64]dead.End{}
	l.world.must(watch.Wait(ctx, sent, func(e dead.End) { ends[e.ID] = e }))
	return ends
}

// replayed replays dead letters as they are, and waits until they are closed.
func (l *line) replayed(ids ...uint64) map[uint64]dead.End {
	l.world.Helper()
	return l.ends(func(d *dead.Resolver, id uint64) (dead.Resolution, error) {
		return d.Replay(context.Background(), id, false)
	}, ids...)
}

// ended checks the only close-out of a replay.
func (w *world) ended(e dead.End, status tiebackv1.Status, stands, says string) *tiebackv1.CloseOut {
	w.Helper()
	if e.Closed == nil || len(e.Closed.CloseOuts) != 1 {
		w.Fatalf("the replay of dead letter %d ended %+v, want one close-out", e.ID, e)
	}
	c := e.Closed.CloseOuts[0]
	if c.Status != status || c.KeptStatus != stands || !strings.Contains(strings.Join(c.Messages, " "), says) {
		w.Errorf("the replay of dead letter %d ended as %v, want %v, kept status %q, message %q", e.ID, c, status, stands, says)
	}
	return c
}

// vendor returns a create_vendor payload for an existing vendor of Procore.
func (w *world) vendor(id int64, name string) map[string]any {
	w.Helper()
	payload, err := w.sandbox.Sample(firstCompany, "create_vendor", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.vendor.id", id)
	sandbox.Set(payload, "request_data.vendor.name", name)
	return payload
}

func (w *world) minted(itemType string) int64 {
	w.Helper()
	id, err := w.sandbox.CreateRecord(firstCompany, itemType)
	w.must(err)
	return id
}

// marked returns the origin id that Procore has for a vendor.
func (w *world) marked(id int64) string {
	r, _ := w.sandbox.Record(firstCompany, "vendor", id)
	return r.OriginID
}

// Malformed data is corrected in the dead letter, then booked and marked, once. Procore keeps the request detail as failed;
// the difference is recorded.
func TestEditedDeadLetterSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	vendor := w.minted("vendor")
	payload := w.vendor(vendor, "Acme")
	sandbox.Set(payload, "request_data.vendor.id", "V-12")
	clicked := w.pressIn(firstCompany, "create_vendor", payload)
	w.failed(clicked, "an id in Procore is a positive whole number")
	letter := l.listed(1)[0]
	if letter.Cause() != "company-data" || letter.Stage != "export" || !strings.Contains(letter.UserMessage, "an id in Procore is a positive whole number") {
		t.Errorf("the letter says %s, %s, %q", letter.Cause(), letter.Stage, letter.UserMessage)
	}
	draft, err := l.resolver("ann@office").Edit(t.Context(), letter.ID)
	w.must(err)
	for mistake, text := range map[string]string{
		"another request":        strings.Replace(draft.Text, fmt.Sprint(clicked), "7", 1),
		"another company":        strings.Replace(draft.Text, fmt.Sprint(firstCompany), "7", 1),
		"another type":           strings.Replace(draft.Text, `"create_vendor"`, `"create_commitment"`, 1),
		"somebody else's button": strings.Replace(draft.Text, `"request_detail_id": `, `"request_detail_id": 9`, 1),
		"no JSON":                draft.Text + "}",
		"a list, and no request": "[]",
		"nothing":                "",
	} {
		if _, err := draft.Take(text); !errors.Is(err, dead.ErrInvalidEdit) {
			t.Errorf("%s was taken: %v", mistake, err)
		}
	}
	if same, err := draft.Take(strings.ReplaceAll(draft.Text, "\n", "\n ")); err != nil || same.Difference != "" {
		t.Errorf("blanks alone make a difference: %v %+v", err, same)
	}
	edited, err := draft.Take(strings.Replace(draft.Text, `"V-12"`, fmt.Sprint(vendor), 1))
	w.must(err)
	end := l.ends(func(*dead.Resolver, uint64) (dead.Resolution, error) {
		return edited.Replay(context.Background(), false)
	}, letter.ID)[letter.ID]
	w.ended(end, tiebackv1.Status_STATUS_SUCCESS, sandbox.Failed, "")
	w.failed(clicked, "an id in Procore is a positive whole number")
	booked := w.sound(l.Ledger, firstCompany, ledger.Vendor)
	if len(booked) != 1 || w.marked(vendor) != booked[0].OriginId {
		t.Errorf("%d vendors in the books, marked as %q", len(booked), w.marked(vendor))
	}
	after, err := request.ReadDeadLetter(t.Context(), l.Bus, letter.ID)
	w.must(err)
	if d := after.Resolutions; after.State != request.StateReplayed || len(d) != 1 || d[0].Who != "ann@office" ||
		!strings.Contains(d[0].Difference, `-      "id": "V-12"`) || !strings.Contains(d[0].Difference, fmt.Sprintf(`+      "id": %d`, vendor)) {
		t.Errorf("on record is %s %v", after.State, d)
	}
}

// down makes the ERP unreachable while the result is true.
func (w *world) down() *atomic.Bool {
	away := &atomic.Bool{}
	away.Store(true)
	w.beforeBooking(func(context.Context) error {
		if away.Load() {
			return errors.New("connection refused")
		}
		return nil
	})
	return away
}

// The replay of a request is refused with a reason if a newer request has changed the record.
func TestReplayOfSupersededRequestChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, backoff: time.Millisecond})
	away := w.down()
	l := w.run()
	vendor := w.minted("vendor")
	old := w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, "Old name"))
	w.failed(old, "")
	letter := l.listed(1)[0]
	if letter.Cause() != "erp" {
		t.Errorf("the letter's cause is %s", letter.Cause())
	}
	away.Store(false)
	newer := w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, "New name"))
	w.succeeded(newer)
	before, marks := w.sound(l.Ledger, firstCompany, ledger.Vendor), w.marks()
	w.ended(l.replayed(letter.ID)[letter.ID], tiebackv1.Status_STATUS_FAILED, "", "newer")
	after := w.sound(l.Ledger, firstCompany, ledger.Vendor)
	if len(after) != 1 || after[0].Name != "New name" || after[0].OriginId != before[0].OriginId {
		t.Errorf("the books have %v, want %v", after, before)
	}
	if w.marks() != marks || w.marked(vendor) != after[0].OriginId {
		t.Errorf("%d calls mark records, want %d; the vendor is marked as %q", w.marks(), marks, w.marked(vendor))
	}
}

// marks counts the calls that mark records.
func (w *world) marks() int {
	n := 0
	for _, c := range w.sandbox.Calls() {
		if strings.Contains(c.Path, "external_data/sync") {
			n++
		}
	}
	return n
}

// refusingReports makes Procore refuse to close request details while it is on. The status-reporter tries twice: it reports the
// outcome, then the failure.
type refusingReports struct {
	on      atomic.Bool
	refused chan struct{}
}

func (s *refusingReports) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.on.Load() || !strings.Contains(r.URL.Path, "erp_request_details/sync") {
			h.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		s.refused <- struct{}{}
	})
}

// press creates a request whose end Procore refuses to record, and ends the refusal.
func (s *refusingReports) press(w *world, payload map[string]any) int64 {
	w.Helper()
	s.on.Store(true)
	id := w.pressIn(firstCompany, "create_vendor", payload)
	for range 2 {
		select {
		case <-s.refused:
		case <-time.After(patience):
			w.Fatal("the status-reporter has nothing to tell")
		}
	}
	s.on.Store(false)
	return id
}

// An outcome that Procore refused is reported when it is replayed, but it does not replace the mark of a newer request.
func TestReplayOfSupersededOutcomeMarksNothing(t *testing.T) {
	t.Parallel()
	refusing := &refusingReports{refused: make(chan struct{}, 8)}
	w := newWorld(t, setup{around: refusing.around})
	l := w.runWith(services{"sweep": nil}) // a sweep would close the open details
	vendor := w.minted("vendor")
	refusing.press(w, w.vendor(vendor, "Old name"))
	letter := l.listed(1)[0]
	if letter.Stage != "status-reporter" || letter.Cause() != "procore" {
		t.Errorf("the letter is by %s, cause %s", letter.Stage, letter.Cause())
	}
	w.succeeded(w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, "New name")))
	marks := w.marks()
	w.ended(l.replayed(letter.ID)[letter.ID], tiebackv1.Status_STATUS_SUCCESS, "", "")
	if w.marks() != marks {
		t.Errorf("%d calls mark records, want %d", w.marks(), marks)
	}
}

// A dead letter of each stage succeeds when it is replayed after the cause was fixed.
func TestDeadLetterOfEachStageIsReplayed(t *testing.T) {
	t.Parallel()
	refusing := &refusingReports{refused: make(chan struct{}, 8)}
	w := newWorld(t, setup{deadline: time.Second, backoff: time.Millisecond, around: refusing.around})
	away := w.down()
	l := w.runWith(services{"sweep": nil}) // a sweep would close the open details
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 404, Times: 1}))
	fetched := w.press("create_vendor")
	l.listed(1)
	worked := w.press("create_vendor")
	w.failed(worked, "")
	l.listed(2)
	away.Store(false)
	told := refusing.press(w, nil)
	letters := l.listed(3)
	ends := l.replayed(letters[0].ID, letters[1].ID, letters[2].ID)
	for i, want := range []struct {
		stop    string
		kind    bus.Kind
		request int64
		stands  string
	}{{"fetcher", bus.Delivery, fetched, ""}, {"export", bus.Event, worked, sandbox.Failed}, {"status-reporter", bus.Outcome, told, ""}} {
		d := letters[i]
		if s, err := bus.Parse(d.Subject); err != nil || d.Stage != want.stop && d.Stage != "deadline" || s.Kind != want.kind || d.ErpRequestId != want.request {
			t.Errorf("dead letter %d is of %s, %s, request %d; want %+v", d.ID, d.Stage, d.Subject, d.ErpRequestId, want)
		}
		w.ended(ends[d.ID], tiebackv1.Status_STATUS_SUCCESS, want.stands, "")
	}
	for _, id := range []int64{fetched, told} {
		if r, err := w.sandbox.Wait(t.Context(), id); err != nil || r.Outcome() != sandbox.Success {
			t.Errorf("request %d ended %q, want success: its detail was never closed before (%v)", id, r.Outcome(), err)
		}
	}
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != 3 {
		t.Errorf("%d vendors in the books, want 3", n)
	}
	timelines, err := request.Read(t.Context(), l.Bus, firstCompany, worked)
	w.must(err)
	runs := timelines[worked].RunStates()
	if len(runs) != 2 || !strings.Contains(runs[0].Text, "failed") || !strings.Contains(runs[0].Text, "dead-lettered") || !strings.Contains(runs[1].Text, "success") {
		t.Errorf("the request stands at %+v", runs)
	}
}

// Two dead letters of one message, each replayed twice, make one booking.
func TestReplaysBookOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, backoff: time.Millisecond})
	away := w.down()
	l := w.run()
	clicked := w.press("create_vendor")
	w.failed(clicked, "")
	letter := l.listed(1)[0]
	m, err := request.ReadDeadLetter(t.Context(), l.Bus, letter.ID)
	w.must(err)
	raw, err := proto.Marshal(m.DeadLetter)
	w.must(err)
	_, err = l.Bus.JetStream().Publish(t.Context(), bus.For(bus.Dead, "create_vendor", firstCompany, clicked).String(), raw)
	w.must(err)
	away.Store(false)
	twice := l.listed(2)[1]
	l.replayed(letter.ID, twice.ID)
	var taken *dead.ResolvedError
	if _, err := l.resolver("bob").Replay(t.Context(), letter.ID, false); !errors.As(err, &taken) || taken.Who != "ann@office" {
		t.Errorf("a second replay: %v, want to be told who did it", err)
	}
	again := l.ends(func(d *dead.Resolver, id uint64) (dead.Resolution, error) {
		return d.Replay(context.Background(), id, true)
	}, letter.ID)
	w.ended(again[letter.ID], tiebackv1.Status_STATUS_SUCCESS, sandbox.Failed, "")
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != 1 {
		t.Errorf("%d vendors in the books, want 1", n)
	}
	if all, _ := request.ReadDeadLetter(t.Context(), l.Bus, letter.ID); len(all.Resolutions) != 2 {
		t.Errorf("on record are %v", all.Resolutions)
	}
}

// The 200 dead letters of an outage of the ERP are selected by a filter and replayed.
func TestDeadLettersAreReplayedByFilter(t *testing.T) {
	t.Parallel()
	const vendors = 200
	w := newWorld(t, setup{deadline: 3 * time.Second, backoff: time.Millisecond}) // also for the replay of all
	away := w.down()
	l := w.run()
	malformed := w.pressIn(firstCompany, "create_vendor", map[string]any{"request_data": map[string]any{"vendor": "nonsense"}})
	w.failed(malformed, "")
	requests := w.vendors(vendors)
	for _, id := range requests {
		w.failed(id, "")
	}
	l.await(bus.Dead, vendors+1)
	away.Store(false)
	letters, err := request.DeadLetters(t.Context(), l.Bus, request.Filter{Company: firstCompany, Type: "create_vendor", Cause: "erp", Contains: "CONNECTION refused"})
	w.must(err)
	if len(letters) != vendors {
		t.Fatalf("%d letters picked, want %d", len(letters), vendors)
	}
	var ids []uint64
	for _, d := range letters {
		ids = append(ids, d.ID)
	}
	for _, e := range l.replayed(ids...) {
		w.ended(e, tiebackv1.Status_STATUS_SUCCESS, sandbox.Failed, "")
	}
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != vendors {
		t.Errorf("%d vendors in the books, want %d", n, vendors)
	}
	left, err := request.DeadLetters(t.Context(), l.Bus, request.Filter{})
	w.must(err)
	if len(left) != 1 || left[0].ErpRequestId != malformed {
		t.Errorf("left are %v, want the one that makes no sense", left)
	}
}
