package index

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

const (
	success = tiebackv1.Status_STATUS_SUCCESS
	failed  = tiebackv1.Status_STATUS_FAILED
)

// author writes the messages of one request of company 7, as the services do.
type author struct {
	testing.TB
	bus     *bus.Bus
	request int64
	event   bus.Message
	letter  uint64
}

func (a *author) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *author) publish(s bus.Subject, m proto.Message) {
	a.must(a.bus.PublishOnce(a.Context(), s, m))
}

// clicked writes the delivery and the event. Without a detail no user waits.
func (a *author) clicked(detail bool) {
	payload := `{"request_data":{"vendor":{"id":35,"name":"Alpha Café"}}}`
	if detail {
		payload = fmt.Sprintf(`{"request_data":{"request_detail_id":%d,"vendor":{"id":35,"name":"Alpha Café"}}}`, 100+a.request)
	}
	a.delivered()
	a.fetched("create_vendor", payload)
}

func (a *author) delivered() {
	a.publish(bus.For(bus.Delivery, "", 7, a.request), &tiebackv1.Delivery{
		CompanyId: 7, ErpRequestId: a.request, EventId: fmt.Sprint(a.request), UserId: 4711, OccurredAt: timestamppb.Now(), ReceivedAt: timestamppb.Now(),
	})
}

func (a *author) fetched(eventType, payload string) {
	s := bus.For(bus.Event, eventType, 7, a.request)
	a.publish(s, &tiebackv1.Event{CompanyId: 7, ErpRequestId: a.request, Type: eventType, RequestedAt: timestamppb.Now(), Payload: []byte(payload)})
	m, _, err := a.bus.Last(a.Context(), s)
	a.must(err)
	a.event = m
}

func (a *author) outcome(run string, o *tiebackv1.Outcome) {
	o.CompanyId, o.ErpRequestId, o.Type = 7, a.request, a.event.Subject.Type
	a.publish(a.on(bus.Outcome, run), o)
}

func (a *author) on(k bus.Kind, run string) bus.Subject {
	s := a.event.Subject.WithRun(run)
	s.Kind = k
	return s
}

// ended writes the outcome of a run, and that it was reported.
func (a *author) ended(run string, o *tiebackv1.Outcome) {
	a.outcome(run, o)
	a.publish(a.on(bus.Closed, run), o)
}

func (a *author) dies(message string) {
	a.must(a.bus.DeadLetter(a.Context(), "export", a.event, &fault.Error{Class: fault.Transient, Source: fault.FromERP, UserMessage: message, Err: errors.New("connection refused")}))
	m, _, err := a.bus.Last(a.Context(), a.on(bus.Dead, ""))
	a.must(err)
	a.letter = m.Sequence
}

// resolves writes a resolution of the dead letter.
func (a *author) resolves(r *tiebackv1.Resolution) {
	r.CompanyId, r.ErpRequestId, r.Type, r.DeadLetter, r.Who, r.At = 7, a.request, a.event.Subject.Type, a.letter, "ann", timestamppb.Now()
	if r.Action == tiebackv1.Action_ACTION_REPLAYED {
		r.Subject = a.on(bus.Event, a.run()).String()
	}
	a.publish(a.on(bus.Resolution, a.run()), r)
}

func (a *author) run() string { return fmt.Sprint(a.letter) }

// replayed writes a replay of the dead letter.
func (a *author) replayed() {
	a.resolves(&tiebackv1.Resolution{Action: tiebackv1.Action_ACTION_REPLAYED, Difference: "-\"contact\": \"Jane Roe\""})
	e := &tiebackv1.Event{}
	a.must(proto.Unmarshal(a.event.Data, e))
	a.publish(a.on(bus.Event, a.run()), e)
}

func (a *author) closed(s tiebackv1.Status, kept string, messages ...string) *tiebackv1.Outcome {
	return &tiebackv1.Outcome{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 100 + a.request, Status: s, KeptStatus: kept, Messages: messages}}}
}

func dead(o *tiebackv1.Outcome) *tiebackv1.Outcome {
	o.DeadLettered = true
	return o
}

// given writes a request that was dead-lettered and reported.
func (a *author) given() {
	a.clicked(true)
	a.dies("Your ERP is away.")
	a.ended("", dead(a.closed(failed, "", "Your ERP is away.")))
}

var histories = []struct {
	name  string
	state State
	class request.Class
	write func(*author)
}{
	{"done", StateOK, request.Success, func(a *author) { a.clicked(true); a.ended("", a.closed(success, "")) }},
	{"refused", StateFailed, request.Failed, func(a *author) { a.clicked(true); a.ended("", a.closed(failed, "", "The code 12 is taken.")) }},
	{"received", StateOpen, request.InProgress, (*author).delivered},
	{"fetched", StateOpen, request.InProgress, func(a *author) { a.clicked(true) }},
	{"fetched, and no user waits", StateOpen, request.InProgress, func(a *author) { a.clicked(false) }},
	{"processed", StateOpen, request.InProgress, func(a *author) { a.clicked(true); a.outcome("", a.closed(success, "")) }},
	{"dead-lettered", StateAttention, request.Dead, (*author).given},
	{"dead-lettered, not reported", StateAttention, request.Unclosed, func(a *author) { a.clicked(true); a.dies("Your ERP is away.") }},
	{"dead-lettered, not reported yet", StateAttention, request.InProgress, func(a *author) {
		a.clicked(true)
		a.dies("Your ERP is away.")
		a.outcome("", dead(a.closed(failed, "", "Your ERP is away.")))
	}},
	{"replayed and done", StateOK, request.Recovered, func(a *author) { a.given(); a.replayed(); a.ended(a.run(), a.closed(success, "")) }},
	{"replayed and done, Procore keeps failed", StateOK, request.Recovered, func(a *author) {
		a.given()
		a.replayed()
		a.ended(a.run(), a.closed(success, "failed"))
	}},
	{"replayed and refused", StateFailed, request.Dead, func(a *author) {
		a.given()
		a.replayed()
		a.ended(a.run(), a.closed(failed, "", "The code 12 is taken."))
	}},
	{"being replayed", StateOpen, request.InProgress, func(a *author) { a.given(); a.replayed() }},
	{"replay interrupted", StateAttention, request.Dead, func(a *author) {
		a.given()
		a.resolves(&tiebackv1.Resolution{Action: tiebackv1.Action_ACTION_REPLAYED})
	}},
	{"discarded", StateFailed, request.Dead, func(a *author) {
		a.given()
		a.resolves(&tiebackv1.Resolution{Action: tiebackv1.Action_ACTION_DISCARDED, Reason: "entered by hand"})
	}},
	{"done after its deadline", StateAttention, request.Recovered, func(a *author) {
		a.clicked(true)
		o := dead(a.closed(failed, "", "Too late."))
		o.Expired = true
		a.dies("Too late.")
		a.ended("", o)
		a.ended("late", a.closed(success, "failed"))
	}},
	{"called off", StateIgnored, request.CalledOff, func(a *author) {
		a.clicked(true)
		a.ended("", &tiebackv1.Outcome{SkipReason: "rejected", CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: a.request, KeptStatus: "rejected"}}})
	}},
	{"older", StateIgnored, request.Older, func(a *author) { a.clicked(true); a.ended("", &tiebackv1.Outcome{SkipReason: bus.SkippedOlder}) }},
	{"an event that does not parse", StateOpen, request.InProgress, func(a *author) {
		a.delivered()
		a.event.Subject = bus.For(bus.Event, "create_vendor", 7, a.request)
		a.must(a.bus.Publisher(bus.Event).Publish(a.Context(), bus.IfAbsent(&nats.Msg{Subject: a.event.Subject.String(), Data: []byte("no protobuf")})))
	}},
}

var deadlines = request.Deadlines{Interactive: 10 * time.Minute, Sync: time.Hour}

func options() Options {
	return Options{Rules: func(int64) request.Rules { return request.Rules{Deadlines: deadlines} }}
}

func open(t testing.TB, path string, o Options) *Index {
	t.Helper()
	x, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	x.searchTime = time.Hour // the machine may be busy
	return x
}

// written writes all histories; the request of the first is 1.
func written(t testing.TB, b *bus.Bus) {
	for i, h := range histories {
		h.write(&author{TB: t, bus: b, request: int64(i + 1)})
	}
}

// same checks that the index says of each history what package request reads from messages.
func same(t *testing.T, x *Index, read map[int64][]bus.Message, kept time.Duration) {
	t.Helper()
	for i, h := range histories {
		id := int64(i + 1)
		e, err := x.Get(t.Context(), 7, id)
		if err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
		now := time.Now()
		want := request.TimelineOf(id, read[id], kept)
		verdict := want.Verdict(request.Rules{Deadlines: deadlines}, request.ProcoreLists{}, now)
		if got := e.Timeline.Verdict(request.Rules{Deadlines: deadlines}, request.ProcoreLists{}, now); !reflect.DeepEqual(got, verdict) {
			t.Errorf("%s: verdict\n got %+v\nwant %+v", h.name, got, verdict)
		}
		if e.Class != h.class || e.State != h.state || e.Class != verdict.Class || e.Why != verdict.Why || e.Ended != verdict.EndText || e.Stage != verdict.At.Name || !e.Due.Equal(verdict.Due) {
			t.Errorf("%s: the row is %+v; want class %s, state %s, verdict %+v", h.name, e.Row, h.class, h.state, verdict)
		}
		if !e.Created.Equal(want.Created) || e.Type != want.Type || !reflect.DeepEqual(e.Timeline.RunStates(), want.RunStates()) {
			t.Errorf("%s: timeline\n got %+v\nwant %+v", h.name, e.Timeline, want)
		}
		page, err := x.Search(t.Context(), Query{Text: fmt.Sprint(id), States: []State{h.state}})
		if err != nil || !slices.ContainsFunc(page.Rows, func(r Row) bool { return r.Request == id }) {
			t.Errorf("%s: not found by its id and state %s: %v", h.name, h.state, err)
		}
	}
	total := int64(0)
	counts, err := x.Counts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for s, n := range counts.States[7] {
		total += n
		want := int64(0)
		for _, h := range histories {
			if h.state == s {
				want++
			}
		}
		if n != want {
			t.Errorf("%d requests are counted as %s, want %d", n, s, want)
		}
	}
	if total != int64(len(histories)) {
		t.Errorf("%d requests are counted, want %d", total, len(histories))
	}
}

// messagesOf reads the messages of all histories from the streams.
func messagesOf(t testing.TB, b *bus.Bus) map[int64][]bus.Message {
	all := map[int64][]bus.Message{}
	for i := range histories {
		id := int64(i + 1)
		messages, unread := request.Messages(t.Context(), b, 7, id)
		if len(unread) > 0 {
			t.Fatal(unread)
		}
		all[id] = messages
	}
	return all
}

func follow(t testing.TB, x *Index, b *bus.Bus) {
	t.Helper()
	if err := x.follow(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

const month = 30 * 24 * time.Hour // the streams' retention

func TestIndexAnswersAsTheStreams(t *testing.T) {
	b := bustest.Connect(t)
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, options())
	for i, h := range histories { // each is written in two halves
		h.write(&author{TB: t, bus: b, request: int64(i + 1)})
		follow(t, x, b)
	}
	read := messagesOf(t, b)
	same(t, x, read, month)

	t.Run("built at once", func(t *testing.T) {
		x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
		follow(t, x, b)
		same(t, x, read, month)
	})
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = open(t, path, options())
	t.Run("opened again, with nothing new", func(t *testing.T) {
		follow(t, x, b)
		same(t, x, read, month)
	})
	t.Run("rechecked", func(t *testing.T) {
		if err := x.recheck(t.Context(), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		same(t, x, read, month)
	})
	t.Run("in any order, some twice, with crashes", func(t *testing.T) {
		var all []message
		for _, messages := range read {
			for _, m := range messages {
				all = append(all, strip(m))
			}
		}
		for seed := range uint64(40) {
			r := rand.New(rand.NewPCG(seed, 13))
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			path := filepath.Join(t.TempDir(), "index.db")
			x := open(t, path, options())
			x.kept.Store(int64(month))
			for from := 0; from < len(all); {
				to := min(len(all), from+1+r.IntN(12))
				switch r.IntN(8) {
				case 0: // it stops before the commit
					if err := x.apply(stopped(), batch{messages: all[from:to]}); err == nil {
						t.Fatal("a transaction was committed that was canceled")
					}
					continue
				case 1: // it was killed, and reads some messages again
					_ = x.Close()
					x = open(t, path, options())
					x.kept.Store(int64(month))
					from = max(0, from-5)
				}
				if err := x.apply(t.Context(), batch{messages: all[from:to]}); err != nil {
					t.Fatal(err)
				}
				from = to
			}
			same(t, x, read, month)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	})
	t.Run("after the streams dropped messages", func(t *testing.T) {
		for _, k := range []bus.Kind{bus.Delivery, bus.Event, bus.Outcome, bus.Closed} {
			s, err := b.JetStream().Stream(t.Context(), k.Stream())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		follow(t, x, b)
		same(t, x, read, month)
	})
	t.Run("after a stream was lost and made again", func(t *testing.T) {
		js := b.JetStream()
		s, err := js.Stream(t.Context(), bus.Closed.Stream())
		if err != nil {
			t.Fatal(err)
		}
		config := s.CachedInfo().Config
		if err := js.DeleteStream(t.Context(), config.Name); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		a := &author{TB: t, bus: b, request: int64(len(histories) + 1)}
		a.clicked(true)
		a.ended("", a.closed(success, ""))
		follow(t, x, b)
		if e, err := x.Get(t.Context(), 7, a.request); err != nil || e.State != StateOK {
			t.Errorf("a request after the loss: %v %+v", err, e.Row)
		}
		if e, err := x.Get(t.Context(), 7, 2); err != nil || e.State != StateFailed || !strings.Contains(e.Why, "The code 12 is taken.") {
			t.Errorf("a request that the stream lost: %v %+v", err, e.Row)
		}
	})
}

// After a broker's data was restored from a backup, sequences that were read have other messages.
func TestRestoredBroker(t *testing.T) {
	store := t.TempDir()
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	var newest int64
	serve := func(requests int64) {
		ns := bustest.Start(t, server.Options{StoreDir: store})
		defer bustest.Stop(ns)
		b, err := bus.Connect(t.Context(), bustest.Options(ns))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range requests {
			newest++
			a := &author{TB: t, bus: b, request: newest}
			a.clicked(true)
			a.ended("", a.closed(success, ""))
		}
		follow(t, x, b)
	}
	serve(3)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	serve(3)
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(store, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	serve(5) // more than were lost
	for id := int64(1); id <= newest; id++ {
		if e, err := x.Get(t.Context(), 7, id); err != nil || e.State != StateOK || len(e.Messages) != 4 {
			t.Errorf("request %d: %d messages, %+v: %v", id, len(e.Messages), e.Row, err)
		}
	}
}

// stopped returns a context that has ended.
func stopped() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRunFollowsTheStreams(t *testing.T) {
	b := bustest.Connect(t)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	x.every = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Run(ctx, b) }()
	written(t, b)
	last := time.Now()
	for range 2 { // the first look that ends may have begun before the last message was written
		for began := time.Now(); !x.Status().Complete.After(last); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("not up to date within 20 s: %+v", x.Status())
			}
		}
		last = x.Status().Complete
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	same(t, x, messagesOf(t, b), month)
}

func TestUnusableFileIsBuiltAgain(t *testing.T) {
	b := bustest.Connect(t)
	written(t, b)
	read := messagesOf(t, b)
	for name, spoil := range map[string]func(*testing.T, string){
		"no database": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another version": func(t *testing.T, path string) {
			db, err := openDB(path, 1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.db")
			x := open(t, path, options())
			follow(t, x, b)
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, path)
			core, logs := observer.New(zap.WarnLevel)
			o := options()
			o.Log = zap.New(core)
			x = open(t, path, o)
			if logs.FilterMessageSnippet("it was moved aside").Len() != 1 {
				t.Errorf("the log is %v", logs.All())
			}
			follow(t, x, b)
			same(t, x, read, month)
		})
	}
}

// A file that becomes corrupt while it is open is replaced by Run.
func TestRunReplacesACorruptFile(t *testing.T) {
	b := bustest.Connect(t)
	written(t, b)
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, options())
	follow(t, x, b)
	if _, err := x.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096 * 2; i < len(raw); i++ { // all but the schema
		raw[i] = 0x55
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	o := options()
	o.Log = zap.New(core)
	x = open(t, path, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- x.Run(ctx, b) }()
	for began := time.Now(); x.Status().Complete.IsZero() || x.damaged.Load(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not built again within 20 s: %+v", x.Status())
		}
		_, _ = x.Search(t.Context(), Query{Text: "vendor"})
	}
	cancel()
	<-done
	same(t, x, messagesOf(t, b), month)
	if logs.FilterMessageSnippet("it was moved aside").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
}

// Nothing of a payload but names, codes, numbers and amounts of records is in the file.
func TestNoPayloadIsStored(t *testing.T) {
	b := bustest.Connect(t)
	a := &author{TB: t, bus: b, request: 1}
	a.delivered()
	a.fetched("create_vendor", `{"request_data":{"request_detail_id":101,"vendor":{"id":35,"name":"Alpha","address":"1 Secret Road","primary_contact":{"name":"Jane Roe","email_address":"jane@example.com"}}}}`)
	a.dies("Your ERP is away.")
	a.ended("", dead(a.closed(failed, "", "Your ERP is away.")))
	a.replayed()
	path := filepath.Join(t.TempDir(), "index.db")
	x := open(t, path, options())
	follow(t, x, b)
	if page, err := x.Search(t.Context(), Query{Text: "alpha"}); err != nil || len(page.Rows) != 1 {
		t.Fatalf("the vendor is not found: %v", err)
	}
	e, err := x.Get(t.Context(), 7, 1)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range e.Messages {
		answer = append(answer, m.Data...)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("Alpha")) {
		t.Fatal("the file does not even have the vendor")
	}
	for _, personal := range []string{"Secret", "secret", "Jane", "jane", "Roe", "example.com"} {
		if bytes.Contains(raw, []byte(personal)) || bytes.Contains(answer, []byte(personal)) {
			t.Errorf("the index has %q", personal)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's permissions are %v", info.Mode())
	}
}

func TestSearch(t *testing.T) {
	b := bustest.Connect(t)
	texts := []struct{ eventType, payload string }{
		1: {"create_vendor", `{"request_data":{"request_detail_id":7000000000000001,"vendor":{"id":35,"name":"Alpha Café Müller","origin_code":"V-0042"}}}`},
		2: {"create_vendor", `{"request_data":{"request_detail_id":7000000000000002,"vendor":{"id":36,"name":"Alphabet Drywall"}}}`},
		3: {"create_commitment", `{"request_data":{"request_detail_id":7000000000000003,"commitment":{"id":99,"type":"WorkOrderContract","number":"SC-0007","title":"Steel","grand_total":"12500.50"}}}`},
		4: {"unlink_vendor", `{"request_data":{"request_detail_id":7000000000000004,"vendor":{"id":35,"origin_id":"ERP-9"}}}`},
		5: {"create_vendor_in_procore", `{"request_data":{"vendor":{"id":37,"name":"Imported Ltd","origin_id":"E-5"}}}`},
		6: {"sync_vendors", `{"request_data":{"request_detail_id":7000000000000006}}`},
	}
	for i, e := range texts[1:] {
		a := &author{TB: t, bus: b, request: 5629499534210000 + int64(i) + 1}
		a.delivered()
		a.fetched(e.eventType, e.payload)
		if i == 1 {
			a.ended("", a.closed(failed, "", "The tax id is missing."))
		}
	}
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	follow(t, x, b)
	for text, want := range map[string][]int64{
		"":                      {6, 5, 4, 3, 2, 1},
		"alpha":                 {2, 1},
		"ALPHA":                 {2, 1},
		"al":                    {2, 1},
		"alphab":                {2},
		"muller alp":            {1},
		"Müller, cafe":          {1},
		"v-42":                  {1},
		"V0042":                 {1},
		"sc-0007":               {3},
		"12,500.50":             {3},
		"12500.5":               {3},
		"12500":                 {3},
		"7000000000000002":      {2},
		"5629499534210003":      {3},
		"tax missing":           {2},
		"vendor":                {6, 5, 4, 2, 1},
		"erp-9":                 {4},
		"imported":              {5},
		"vendor nothing":        nil,
		"!!!":                   nil,
		`"alpha`:                {2, 1},
		"alpha* OR NOT (drywa":  nil,
		"alpha NEAR drywall":    nil,
		"words:alpha":           nil,
		"alpha -drywall":        {2},
		"\x00\xff'; DROP TABLE": nil,
		beginning + "al":        {2, 1},
		facetRune(0):            nil,
	} {
		page, err := x.Search(t.Context(), Query{Text: text})
		var got []int64
		for _, r := range page.Rows {
			got = append(got, r.Request-5629499534210000)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q found %v, want %v: %v", text, got, want, err)
		}
	}
	now := time.Now()
	for name, c := range map[string]struct {
		q    Query
		want int
	}{
		"type":             {Query{Types: []string{"create_vendor", "unlink_vendor"}}, 3},
		"category":         {Query{Categories: []catalogue.Category{catalogue.Export}}, 3},
		"state":            {Query{States: []State{StateFailed}}, 1},
		"states":           {Query{States: []State{StateFailed, StateOpen}}, 6},
		"company":          {Query{Companies: []int64{7}}, 6},
		"another company":  {Query{Companies: []int64{8}}, 0},
		"no company":       {Query{Companies: []int64{}}, 0},
		"all of them":      {Query{Companies: []int64{7, 8}, Types: []string{"create_vendor"}, Categories: []catalogue.Category{catalogue.Export}, States: []State{StateFailed}, Text: "alphabet", Since: now.Add(-time.Hour), Until: now.Add(time.Hour)}, 1},
		"an unknown type":  {Query{Types: []string{"no_such_type"}}, 0},
		"since":            {Query{Since: now.Add(time.Hour)}, 0},
		"until":            {Query{Until: now.Add(-time.Hour)}, 0},
		"until, with text": {Query{Until: now.Add(-time.Hour), Text: "vendor"}, 0},
	} {
		if page, err := x.Search(t.Context(), c.q); err != nil || len(page.Rows) != c.want {
			t.Errorf("%s: %d rows, want %d: %v", name, len(page.Rows), c.want, err)
		}
	}
	for text, want := range map[string]int64{"5629499534210003": 3, "7000000000000002": 2, "SC-7": 3, " alphabet ": 2} {
		rows, err := x.Find(t.Context(), nil, text)
		if err != nil || len(rows) != 1 || rows[0].Request-5629499534210000 != want {
			t.Errorf("Find(%q): %v %v", text, rows, err)
		}
	}
	x.searchTime = 0 // each page ends early
	if rows, err := x.Find(t.Context(), nil, "alpha"); err != nil || len(rows) != 2 {
		t.Errorf("Find returned %d rows of short pages, want 2: %v", len(rows), err)
	}
	x.searchTime = time.Hour
	if rows, err := x.Find(t.Context(), []int64{8}, "5629499534210003"); err != nil || len(rows) != 0 {
		t.Errorf("a request of another company is found: %v %v", rows, err)
	}
	if _, err := x.Search(t.Context(), Query{Cursor: "nonsense"}); !errors.Is(err, ErrCursor) {
		t.Errorf("a wrong cursor: %v", err)
	}
	if _, err := x.Get(t.Context(), 7, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("a request that does not exist: %v", err)
	}
}

const short Order = 10

// Pages in either order have each request once, in order.
func TestPages(t *testing.T) {
	b := bustest.Connect(t)
	written(t, b)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	follow(t, x, b)
	for _, order := range []Order{Newest, FailedFirst, Newest + short, FailedFirst + short} {
		x.searchTime = time.Hour
		if order >= short { // each page ends after a part of the time
			x.searchTime, order = 0, order-short
		}
		for limit := 1; limit <= len(histories)+1; limit++ {
			for _, text := range []string{"", "vendor"} {
				q := Query{Order: order, Limit: limit, Text: text}
				var all []Row
				for pages := 0; ; pages++ {
					page, err := x.Search(t.Context(), q)
					if err != nil || len(page.Rows) > limit || pages > len(histories)+len(States)*(windows+2) {
						t.Fatalf("page %d of %d rows: %v", pages, len(page.Rows), err)
					}
					if len(page.Rows) < limit && page.Next != "" && page.Searched.IsZero() {
						t.Errorf("a page of %d rows of %d has a next one, and does not say why", len(page.Rows), limit)
					}
					all = append(all, page.Rows...)
					if q.Cursor = page.Next; q.Cursor == "" {
						break
					}
				}
				want := len(histories)
				if text != "" {
					want-- // one has its delivery only
				}
				sorted := slices.IsSortedFunc(all, func(a, b Row) int {
					if order == FailedFirst && a.State != b.State {
						return slices.Index(States, a.State) - slices.Index(States, b.State)
					}
					return b.Arrived.Compare(a.Arrived)
				})
				seen := map[int64]bool{}
				for _, r := range all {
					seen[r.Request] = true
				}
				if len(all) != want || len(seen) != want || !sorted {
					t.Errorf("order %d, limit %d, %q: %d rows of %d requests, want %d; sorted: %v", order, limit, text, len(all), len(seen), want, sorted)
				}
			}
		}
	}
}

// Requests that arrive at the same time have rows of their own, in one transaction and in several.
func TestSameTime(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	at := time.Now()
	for n := range int64(3) {
		var some []message
		for i := range int64(4) {
			some = append(some, message{kind: bus.Delivery, company: 7, request: 1 + i*3 + n, typ: catalogue.Unknown, at: at.Add(time.Duration(i%2) * unit), sequence: uint64(1 + i*3 + n)})
		}
		if err := x.apply(t.Context(), batch{messages: some}); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []Query{{}, {Companies: []int64{7}}} {
		if page, err := x.Search(t.Context(), q); err != nil || len(page.Rows) != 12 {
			t.Errorf("%d rows, want 12: %v", len(page.Rows), err)
		}
	}
}

// What becomes overdue is so in a list without a message.
func TestOverdueWithoutAMessage(t *testing.T) {
	b := bustest.Connect(t)
	a := &author{TB: t, bus: b, request: 1}
	a.clicked(true)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	follow(t, x, b)
	attention := func() int {
		page, err := x.Search(t.Context(), Query{States: []State{StateAttention}})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Rows)
	}
	late := time.Now()
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {9 * time.Minute, 0}, {10*time.Minute + 30*time.Second, 0}, {12 * time.Minute, 1}} {
		if err := x.recheck(t.Context(), late.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if got := attention(); got != step.want {
			t.Errorf("after %v %d need attention, want %d", step.after, got, step.want)
		}
	}
}

func TestPurge(t *testing.T) {
	b := bustest.Connect(t)
	written(t, b)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	follow(t, x, b)
	if err := x.Purge(t.Context(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	same(t, x, messagesOf(t, b), month)
	if err := x.Purge(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	page, err := x.Search(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	words, err := x.Search(t.Context(), Query{Text: "vendor"})
	if err != nil {
		t.Fatal(err)
	}
	counts, err := x.Counts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Rows {
		if e, err := x.Get(t.Context(), 7, r.Request); err != nil || e.Timeline.OpenDeadLetter() == nil {
			t.Errorf("request %d was kept without an open dead letter: %v", r.Request, err)
		}
	}
	if len(page.Rows) != 5 || len(words.Rows) != 5 || counts.States[7][StateAttention] != 5 || counts.States[7][StateOK] != 0 {
		t.Errorf("%d rows, %d found, counts %v; want the 5 with an open dead letter", len(page.Rows), len(words.Rows), counts.States)
	}
}

func TestSeries(t *testing.T) {
	b := bustest.Connect(t)
	written(t, b)
	x := open(t, filepath.Join(t.TempDir(), "index.db"), options())
	for range 2 { // the second finds nothing new
		follow(t, x, b)
	}
	counts, err := x.Counts(t.Context(), []int64{7})
	if err != nil {
		t.Fatal(err)
	}
	var sum Minute
	for _, m := range counts.Series {
		sum.Received, sum.Closed, sum.Failed = sum.Received+m.Received, sum.Closed+m.Closed, sum.Failed+m.Failed
	}
	closed, fail := int64(0), int64(0)
	for _, messages := range messagesOf(t, b) {
		for _, m := range messages {
			if r, ok := request.ParseReport(m); ok && m.Subject.Kind == bus.Closed && r.SkipReason == "" {
				closed++
				if r.Failed() {
					fail++
				}
			}
		}
	}
	if len(counts.Series) != 60 || sum.Received != int64(len(histories)) || sum.Closed != closed || sum.Failed != fail {
		t.Errorf("%d minutes, received %d, closed %d, failed %d; want 60, %d, %d, %d", len(counts.Series), sum.Received, sum.Closed, sum.Failed, len(histories), closed, fail)
	}
	if other, err := x.Counts(t.Context(), []int64{8}); err != nil || len(other.States) != 0 || slices.ContainsFunc(other.Series, func(m Minute) bool { return m.Received != 0 }) {
		t.Errorf("another company's viewer sees %+v: %v", other, err)
	}
}

// Each type whose payload names a record in Procore's sample is found by it.
func TestContentOfEachType(t *testing.T) {
	for _, s := range dictionary.Entries() {
		c, _ := contentOf(s.Name, s.Sample)
		if got := c.record != ""; got != (s.Category != string(catalogue.Sync)) {
			t.Errorf("%s: record %q, texts %q", s.Name, c.record, c.texts)
		}
	}
}

// A request whose payload can't be read is found by the names in it: it is one that an operator looks for.
func TestContentOfMalformedExport(t *testing.T) {
	c, _ := contentOf("create_vendor", []byte(`{"request_data":{"vendor":{"id":"V-12","company":"Alpha Concrete","origin_code":"A-7"}}}`))
	if c.record != `vendor "Alpha Concrete"` || !strings.Contains(c.texts, "Alpha Concrete") {
		t.Errorf("record %q, texts %q", c.record, c.texts)
	}
}

// FuzzSearch: no text is an error, and a text that was indexed finds its request.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{"vendor", `"`, "a*", "NEAR(a b)", "x OR", "-", "12,500.50", "\x00", "Ünïcödé", "中文", "ﬁ", "ß", "words:a", "^a", "{a}", "00", "1.50.0", "١٢", "İ", "a\u0301", "ⅷ"} {
		f.Add(s, s)
	}
	x, err := Open(f.Context(), filepath.Join(f.TempDir(), "index.db"), Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = x.Close() })
	request := int64(0)
	f.Fuzz(func(t *testing.T, name, text string) {
		if _, err := x.Search(t.Context(), Query{Text: text, Limit: 1}); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(name) > 200 {
			return
		}
		request++
		m := message{kind: bus.Event, company: 1, request: request, typ: "create_vendor", at: time.Now(), sequence: uint64(request), data: broken, content: &content{texts: name}}
		if err := x.apply(t.Context(), batch{messages: []message{m}}); err != nil {
			t.Fatal(err)
		}
		page, err := x.Search(t.Context(), Query{Text: name, Limit: 1})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(tokens(name)) > 0 && (len(page.Rows) != 1 || page.Rows[0].Request != request) {
			t.Fatalf("%q does not find its own request: search %q", name, tokens(name))
		}
	})
}

// The data folder of tieback demo is a relative path.
func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	x, err := Open(t.Context(), filepath.Join(".tieback", "index.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}
