package endtoend

import (
	"context"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/exports"
)

// await waits for the first n messages of a stream and returns them.
func (l *line) await(kind bus.Kind, n int) []jetstream.Msg {
	l.world.Helper()
	c, err := l.Bus.JetStream().OrderedConsumer(l.world.Context(), kind.Stream(), jetstream.OrderedConsumerConfig{})
	l.world.must(err)
	it, err := c.Messages()
	l.world.must(err)
	defer it.Stop()
	late := time.AfterFunc(patience, it.Stop)
	defer late.Stop()
	var all []jetstream.Msg
	for range n {
		m, err := it.Next()
		if err != nil {
			var got []string
			for _, m := range all {
				got = append(got, m.Subject())
			}
			l.world.Fatalf("%d of %d messages in %s: %v: %v", len(all), n, kind.Stream(), err, got)
		}
		all = append(all, m)
	}
	return all
}

// letters waits for n dead letters and returns them by the subjects of their messages.
func (l *line) letters(n int) map[string]*tiebackv1.DeadLetter {
	l.world.Helper()
	all := map[string]*tiebackv1.DeadLetter{}
	for _, m := range l.await(bus.Dead, n) {
		d := &tiebackv1.DeadLetter{}
		l.world.must(proto.Unmarshal(m.Data(), d))
		all[d.Subject] = d
	}
	if got := len(l.messages(bus.Dead)); got != n {
		l.world.Errorf("%d dead letters, want %d", got, n)
	}
	return all
}

// failed waits for a request and checks that it failed with a message that contains want.
func (w *world) failed(request int64, want string) {
	w.Helper()
	r := w.wait(request)
	if r.Outcome() != sandbox.Failed || !strings.Contains(strings.Join(r.Details[0].Messages, " "), want) {
		w.Errorf("request %d, %s, ended %q %v; want failed, with %q", request, r.EventType, r.Outcome(), r.Details, want)
	}
}

func (w *world) vendors(n int) []int64 {
	var requests []int64
	for range n {
		requests = append(requests, w.press("create_vendor"))
	}
	return requests
}

// A request that cannot be processed becomes a dead letter with its whole message and is closed as failed. Others are not affected.
func TestMalformedRequestsFailAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	others := w.vendors(5)
	unknown := w.pressIn(firstCompany, "create_spaceship", map[string]any{"request_data": map[string]any{"request_detail_id": 0, "ship": map[string]any{"id": 1}}})
	malformed := w.pressIn(firstCompany, "create_vendor", map[string]any{"request_data": map[string]any{"vendor": "nonsense"}})
	nothing := w.pressIn(firstCompany, "create_commitment", map[string]any{"request_data": map[string]any{}})
	others = append(others, w.vendors(5)...)
	for _, id := range others {
		w.succeeded(id)
	}
	w.failed(unknown, "create_spaceship")
	w.failed(malformed, "")
	w.failed(nothing, "")
	letters := l.letters(3)
	for subject, stop := range map[string]string{
		bus.For(bus.Delivery, "", firstCompany, unknown).String():               "fetcher",
		bus.For(bus.Event, "create_vendor", firstCompany, malformed).String():   "export",
		bus.For(bus.Event, "create_commitment", firstCompany, nothing).String(): "export",
	} {
		if d := letters[subject]; d == nil || d.Stage != stop || d.Class != tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT || d.Attempts != 1 || d.Error == "" {
			t.Errorf("dead letter of %s: %v; want one by %s", subject, d, stop)
		}
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(others) {
		t.Errorf("%d vendors in the books, want %d", booked, len(others))
	}
}

// Messages that no service of Tieback wrote become dead letters, unchanged.
func TestForeignMessagesAreDeadLetteredWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	raw := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		w.must(err)
		return b
	}
	garbage := []byte{0xff, 0x00, 'g', 'a', 'r', 'b', 'a', 'g', 'e', 0xfe}
	subject := func(kind bus.Kind, eventType string, request int64) string {
		return bus.For(kind, eventType, firstCompany, request).String()
	}
	poison := map[string][]byte{
		subject(bus.Event, "create_vendor", 11):   garbage,
		subject(bus.Event, "create_vendor", 12):   raw(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 999, Type: "create_vendor"}),
		subject(bus.Event, "create_vendor", 13):   raw(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 13, Type: "create_spaceship"}),
		subject(bus.Event, "create_vendor", 14):   raw(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 14, Type: "create_vendor", Payload: garbage}),
		"tb.event.export.nobody.wrote.this":       garbage,
		"tb.event.sync.create_vendor.7.15":        garbage,
		subject(bus.Delivery, "", 16):             garbage,
		subject(bus.Delivery, "", 17):             {},
		"tb.delivery.what":                        []byte("ever"),
		subject(bus.Outcome, "create_vendor", 18): garbage,
		"tb.outcome.too.long.by.a.token.or.two":   garbage,
		subject(bus.Delivery, "", 21):             raw(&tiebackv1.Delivery{CompanyId: firstCompany, ErpRequestId: 21}), // Procore has no such request
	}
	others := w.vendors(5)
	for s, data := range poison {
		_, err := l.Bus.JetStream().Publish(t.Context(), s, data)
		w.must(err)
	}
	others = append(others, w.vendors(5)...)
	for _, id := range others {
		w.succeeded(id)
	}
	letters := l.letters(len(poison))
	for s, data := range poison {
		if d := letters[s]; d == nil || string(d.Message) != string(data) || d.Class != tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT || d.StreamSequence == 0 {
			t.Errorf("dead letter of %s: %v; want the message whole", s, d)
		}
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(others) {
		t.Errorf("%d vendors in the books, want %d", booked, len(others))
	}
}

// A handler that panics does not affect other events, and its event is processed once it no longer panics. The tests of pkg/bus
// show when it is given up.
func TestPanicFailsOnlyItsEvent(t *testing.T) {
	t.Parallel()
	const panics = 6
	w := newWorld(t, setup{backoff: time.Millisecond})
	var tried atomic.Int64
	handlers := maps.Clone(exports.Handlers)
	handlers["create_vendor"] = func(ctx context.Context, task *worker.Task) ([]*tiebackv1.CloseOut, error) {
		if task.Payload.Data.Object("vendor").Text("name") == "Poison" && tried.Add(1) <= panics {
			panic("poison")
		}
		return exports.Handlers["create_vendor"](ctx, task)
	}
	l := w.runWith(services{"export": func(ctx context.Context, p *tenant.App) error {
		s, err := worker.New(ctx, catalogue.Export, handlers, worker.Deps{
			Bus: p.Bus, Companies: p.Companies, Procore: p.Procore, ERPs: p.ERPs, Log: p.Log, Metrics: p.Metrics, Backoff: p.Backoff,
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}})
	others := w.vendors(5)
	payload, err := w.sandbox.Sample(firstCompany, "create_vendor", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.vendor.name", "Poison")
	poison := w.pressIn(firstCompany, "create_vendor", payload)
	for _, id := range append(others, w.vendors(5)...) {
		w.succeeded(id)
	}
	w.succeeded(poison)
	if tried.Load() != panics+1 || len(l.messages(bus.Dead)) != 0 {
		t.Errorf("the handler was tried %d times, want %d and no dead letter", tried.Load(), panics+1)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != 11 {
		t.Errorf("%d vendors in the books, want 11", booked)
	}
}

func decoded(t *testing.T, raw []byte) *tiebackv1.Outcome {
	t.Helper()
	o := &tiebackv1.Outcome{}
	if err := proto.Unmarshal(raw, o); err != nil {
		t.Fatal(err)
	}
	return o
}
