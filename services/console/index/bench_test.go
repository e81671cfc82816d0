package index

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

var (
	searched = flag.Int("searched", 1_000_000, "requests in the index that BenchmarkSearch searches")
	kept     = flag.String("kept", "", "file of the index that BenchmarkSearch searches, filled up and kept for the next run; empty: a temporary one")
	rebuilt  = flag.Int("rebuilt", 100_000, "requests in the streams that BenchmarkRebuild reads")
)

// generator makes requests of 40 companies, of which one has a third.
type generator struct {
	*rand.Rand
	names []string
}

func newGenerator() *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2))}
	for range 5000 {
		var name strings.Builder
		for range 2 + g.IntN(3) {
			name.WriteByte("bcdfghklmnprstvw"[g.IntN(16)])
			name.WriteByte("aeiou"[g.IntN(5)])
		}
		g.names = append(g.names, name.String())
	}
	return g
}

func (g *generator) name() string {
	trades := []string{"Steel", "Concrete", "Drywall", "Electric", "Plumbing", "Roofing", "Excavation", "Construction"}
	return fmt.Sprintf("%s %s %s", g.names[int(g.ExpFloat64()*500)%len(g.names)], g.names[g.IntN(len(g.names))], trades[g.IntN(len(trades))])
}

// made is a message of a made request.
type made struct {
	subject bus.Subject
	message proto.Message
}

// request makes the messages of a request that ended, with typical payloads: 97 % booked, 3 % failed, and a dead letter in 500.
func (g *generator) request(i int) []made {
	company := int64(1)
	if g.IntN(3) > 0 {
		company = 1 + int64(g.IntN(40))
	}
	id, detail := 5629499534210000+int64(i), 7700000000000000+int64(i)
	at := timestamppb.Now()
	var eventType, data string
	contact := `"address":"12 Main Street","city":"Springfield","zip":"12345","business_phone":"555-0100","email_address":"office@example.com"`
	switch n := g.IntN(10); {
	case n < 5:
		eventType = "create_commitment"
		line := `{"id":%d,"description":"Supply and install as drawn","amount":"%d.50","quantity":"1.0","cost_code":{"id":4,"origin_id":"01-100"},"line_item_type":{"id":2,"origin_id":"SUB"}}`
		data = fmt.Sprintf(`"commitment":{"id":%d,"type":"WorkOrderContract","number":"SC-%05d","title":"%s","grand_total":"%d.50","vendor":{"id":35,"origin_id":"V-%d"},"status":"Approved"},"commitment_items":[`+line+","+line+`]`,
			i, i%100_000, g.name(), g.IntN(1_000_000), g.IntN(20_000), i, g.IntN(10_000), i+1, g.IntN(10_000))
	case n < 8:
		eventType = "create_vendor"
		data = fmt.Sprintf(`"vendor":{"id":%d,"name":"%s","origin_code":"V-%05d",%s}`, i, g.name(), g.IntN(20_000), contact)
	default:
		eventType = "unlink_vendor"
		data = fmt.Sprintf(`"vendor":{"id":%d,"origin_id":"V-%05d"}`, i, g.IntN(20_000))
	}
	o := &tiebackv1.Outcome{CompanyId: company, ErpRequestId: id, Type: eventType, RequestedAt: at, CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: detail, Status: success, Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: int64(i), OriginId: "V-1"}},
	}}}
	dead := g.IntN(500) == 0
	if dead || g.IntN(33) == 0 {
		o.CloseOuts[0].Status, o.DeadLettered = failed, dead
		o.CloseOuts[0].Messages = []string{"The vendor has no tax id in the ERP. Add it there and export again."}
	}
	on := func(k bus.Kind) bus.Subject { return bus.For(k, eventType, company, id) }
	all := []made{
		{bus.For(bus.Delivery, "", company, id), &tiebackv1.Delivery{CompanyId: company, ErpRequestId: id, EventId: fmt.Sprintf("01JD%022d", i), ApiVersion: "v4.0", UserId: 77, OccurredAt: at, ReceivedAt: at}},
		{on(bus.Event), &tiebackv1.Event{CompanyId: company, ErpRequestId: id, Type: eventType, RequestedAt: at, Payload: fmt.Appendf(nil, `{"request_name":%q,"request_data":{"request_detail_id":%d,"company_id":%d,%s}}`, eventType, detail, company, data)}},
		{on(bus.Outcome), o},
		{on(bus.Closed), o},
	}
	if dead {
		all = append(all, made{on(bus.Dead), &tiebackv1.DeadLetter{
			CompanyId: company, ErpRequestId: id, Type: eventType, Stage: "export", Error: "connection refused", Subject: on(bus.Event).String(), Message: []byte("the event"), Attempts: 5,
			UserMessage: o.CloseOuts[0].Messages[0], Cause: tiebackv1.Cause_CAUSE_ERP,
		}})
	}
	return all
}

// filled returns an index of n requests, of which one arrived every 30 s.
func filled(b *testing.B, n int) *Index {
	b.Helper()
	path := *kept
	if path == "" {
		path = filepath.Join(b.TempDir(), "index.db")
	}
	x := open(b, path, options())
	x.searchTime = searchTime
	var had int
	if err := x.read.QueryRow("SELECT count(*) FROM requests").Scan(&had); err != nil {
		b.Fatal(err)
	}
	g, began := newGenerator(), time.Now()
	first := began.Add(-time.Duration(n) * 30 * time.Second)
	sequences := map[bus.Kind]uint64{}
	for i := had; i < n; {
		var some []message
		for ; i < n && len(some) < batchMessages; i++ {
			for j, m := range g.request(i + 1) {
				data, err := proto.Marshal(m.message)
				if err != nil {
					b.Fatal(err)
				}
				sequences[m.subject.Kind]++
				some = append(some, strip(bus.Message{
					Subject: m.subject, Data: data, Stored: first.Add(time.Duration(i)*30*time.Second + time.Duration(j)*time.Second), Sequence: sequences[m.subject.Kind],
				}))
			}
		}
		if err := x.apply(b.Context(), batch{messages: some}); err != nil {
			b.Fatal(err)
		}
	}
	var size int64
	if err := x.read.QueryRow("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&size); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d requests: %d MB, %d MB of memory, filled at %.0f requests/s", n, size>>20, memory()>>20, float64(n-had)/time.Since(began).Seconds())
	return x
}

// memory returns how much memory the program has from the system.
func memory() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys
}

// BenchmarkSearch measures pages and searches: go test -run '^$' -bench Search -benchtime 200x ./services/console/index
func BenchmarkSearch(b *testing.B) {
	x := filled(b, *searched)
	n := *searched
	g := newGenerator()
	rare := g.names[4321]
	newest := time.Now().Add(-time.Duration(n/20) * 30 * time.Second)
	deep := func(q Query, fraction float64) Query { // a cursor far down, as many pages would reach it
		at := time.Now().Add(-time.Duration(float64(n)*fraction) * 30 * time.Second)
		q.Cursor = fmt.Sprintf("0-%s", strconv.FormatInt(idAt(at), 36))
		return q
	}
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"page/newest", Query{}},
		{"page/newest, 90 % down", deep(Query{}, 0.9)},
		{"page/failed first", Query{Order: FailedFirst}},
		{"page/failed first, 1000 rows", Query{Order: FailedFirst, Limit: 1000}},
		{"page/company", Query{Companies: []int64{1}}},
		{"page/company, 90 % down", deep(Query{Companies: []int64{17}}, 0.9)},
		{"page/company, failed first", Query{Companies: []int64{17}, Order: FailedFirst}},
		{"page/20 companies", Query{Companies: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}}},
		{"page/failed of a week", Query{States: []State{StateFailed}, Since: newest, Until: newest.Add(7 * 24 * time.Hour)}},
		{"page/open, of which there are none", Query{States: []State{StateOpen}}},
		{"page/all filters", Query{Companies: []int64{17}, Types: []string{"create_vendor"}, Categories: []catalogue.Category{catalogue.Export}, States: []State{StateFailed}}},
		{"page/filters that exclude each other", Query{Types: []string{"create_vendor"}, Categories: []catalogue.Category{catalogue.Unlink}}},
		{"search/common word", Query{Text: "vendor"}},
		{"search/common word, 90 % down", deep(Query{Text: "vendor"}, 0.9)},
		{"search/common words", Query{Text: "create commitment steel"}},
		{"search/common words that exclude each other", Query{Text: "unlink commitment"}},
		{"search/two letters", Query{Text: "co"}},
		{"search/beginning of a word", Query{Text: "constr"}},
		{"search/beginning of many words", Query{Text: "bako"}},
		{"search/rare word", Query{Text: rare}},
		{"search/rare and common word", Query{Text: rare + " vendor"}},
		{"search/no such word", Query{Text: "xyzzyx"}},
		{"search/request id", Query{Text: fmt.Sprint(5629499534210000 + n/3)}},
		{"search/detail id", Query{Text: fmt.Sprint(7700000000000000 + n/3)}},
		{"search/beginning of ids", Query{Text: "5629499534"}},
		{"search/number", Query{Text: "SC-04242"}},
		{"search/amount", Query{Text: "424,242.50"}},
		{"search/reason", Query{Text: "tax id"}},
		{"search/word, failed first", Query{Text: "steel", Order: FailedFirst}},
		{"search/word and all filters", Query{Text: "steel", Companies: []int64{17}, Types: []string{"create_vendor"}, Categories: []catalogue.Category{catalogue.Export}, States: []State{StateFailed}}},
		{"search/rare word and filters without a match", Query{Text: rare, States: []State{StateOpen}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows := 0
			measure(b, func() error {
				page, err := x.Search(b.Context(), c.q)
				rows = len(page.Rows)
				return err
			})
			b.ReportMetric(float64(rows), "rows")
		})
	}
	b.Run("get", func(b *testing.B) {
		page, err := x.Find(b.Context(), nil, fmt.Sprint(5629499534210000+n/3))
		if err != nil || len(page) != 1 {
			b.Fatal(page, err)
		}
		measure(b, func() error {
			_, err := x.Get(b.Context(), page[0].Company, page[0].Request)
			return err
		})
	})
	b.Run("find", func(b *testing.B) {
		measure(b, func() error {
			_, err := x.Find(b.Context(), nil, fmt.Sprint(5629499534210000+n/3))
			return err
		})
	})
	b.Run("counts", func(b *testing.B) {
		measure(b, func() error {
			_, err := x.Counts(b.Context(), nil)
			return err
		})
	})
}

// measure reports the median and the 99th percentile of a call's time, and of its CPU time, which other processes disturb less.
func measure(b *testing.B, call func() error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const thread = 1 // RUSAGE_THREAD; SQLite runs in the calling goroutine
	var took, used []time.Duration
	for b.Loop() {
		began, cpu := time.Now(), cpuTime(b, thread)
		if err := call(); err != nil {
			b.Fatal(err)
		}
		took, used = append(took, time.Since(began)), append(used, cpuTime(b, thread)-cpu)
	}
	slices.Sort(took)
	slices.Sort(used)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(used[len(used)*99/100].Seconds()*1000, "p99-cpu-ms")
}

// BenchmarkRebuild measures how fast an empty index reads the streams of a broker on disk:
// go test -run '^$' -bench Rebuild -benchtime 1x ./services/console/index
func BenchmarkRebuild(b *testing.B) {
	broker := bustest.Connect(b)
	sent := publish(b, broker, *rebuilt)
	b.ResetTimer()
	for b.Loop() {
		x := open(b, filepath.Join(b.TempDir(), "index.db"), options())
		began, cpu := time.Now(), cpuTime(b, syscall.RUSAGE_SELF)
		if err := x.follow(b.Context(), broker); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		b.ReportMetric(float64(*rebuilt)/took.Seconds(), "requests/s")
		b.ReportMetric(float64(sent)/took.Seconds(), "messages/s")
		b.ReportMetric(float64((cpuTime(b, syscall.RUSAGE_SELF)-cpu).Microseconds())/float64(sent), "cpu-µs/message") // with the broker's
		b.ReportMetric(float64(memory()>>20), "MB-of-memory")
		counts, err := x.Counts(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		n := int64(0)
		for _, states := range counts.States {
			for _, of := range states {
				n += of
			}
		}
		if n != int64(*rebuilt) {
			b.Fatalf("the index has %d requests, want %d", n, *rebuilt)
		}
		_ = x.Close()
	}
}

// cpuTime returns the CPU time of this process or thread.
func cpuTime(b *testing.B, who int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// publish writes the messages of n requests, of which 500 are in the pipeline at a time.
func publish(b *testing.B, broker *bus.Bus, n int) (sent int) {
	js := broker.JetStream()
	g := newGenerator()
	for i := 0; i < n; {
		waves := map[bus.Kind][]made{}
		for range min(500, n-i) {
			i++
			for _, m := range g.request(i) {
				waves[m.subject.Kind] = append(waves[m.subject.Kind], m)
			}
		}
		for _, k := range bus.Kinds {
			var acks []jetstream.PubAckFuture
			for _, m := range waves[k] {
				data, err := proto.Marshal(m.message)
				if err != nil {
					b.Fatal(err)
				}
				ack, err := js.PublishMsgAsync(&nats.Msg{Subject: m.subject.String(), Data: data})
				if err != nil {
					b.Fatal(err)
				}
				acks, sent = append(acks, ack), sent+1
			}
			for _, ack := range acks {
				select {
				case <-ack.Ok():
				case err := <-ack.Err():
					b.Fatal(err)
				}
			}
		}
	}
	return sent
}
