// Package status reports the health of the queues and companies, and what needs attention. It changes nothing.
//
// A report costs some dozens of requests to the broker and reads a bounded number of messages without their bodies,
// however many the streams hold: the first MaxUnfinished unfinished messages of each queue, and the newest MaxRecent
// messages of each stream within the window. The report says where it is incomplete for this reason, and which
// requests the broker did not answer.
package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/telemetry"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// Options configure a Reader.
type Options struct {
	Companies      map[int64]string // names of the companies in the companies file, by id
	Deadlines      request.Deadlines
	Clients        map[int64]*company.Client // clients of the companies, by id; rate limits are read only for these
	Quota          procore.Store             // where processes publish their rate limits and refused logins; nil: they are not known
	InvalidEntries int                       // entries of the companies file that have a mistake
	Embedded       bool                      // the broker is the embedded one, so tieback run is not running
	TroubleAfter   time.Duration             // how long a company's ERP or Procore must fail before it needs attention; 0: a minute
	MaxUnfinished  int                       // 0: 20,000
	MaxRecent      int                       // 0: 10,000
	MaxDeadLetters int                       // the newest dead letters to count; 0: 100,000
}

// Reader reads the state of the queues and companies. Each reading counts dead letters and recent messages from where the
// last one stopped, so Read is not for concurrent use.
type Reader struct {
	Options
	bus         *bus.Bus
	deadLetters *request.Counter
	tails       map[bus.Kind]*tail
}

// New returns a reader.
func New(b *bus.Bus, o Options) *Reader {
	o.TroubleAfter = cmp.Or(o.TroubleAfter, time.Minute)
	o.MaxUnfinished, o.MaxRecent, o.MaxDeadLetters = cmp.Or(o.MaxUnfinished, 20_000), cmp.Or(o.MaxRecent, 10_000), cmp.Or(o.MaxDeadLetters, 100_000)
	counter := request.NewCounter(b)
	counter.Limit = uint64(o.MaxDeadLetters) //nolint:gosec // a positive number
	return &Reader{Options: o, bus: b, deadLetters: counter, tails: map[bus.Kind]*tail{bus.Delivery: {}, bus.Event: {}, bus.Outcome: {}, bus.Closed: {}}}
}

// Window is the time over which Read counts if it is called with 0.
const Window = 5 * time.Minute

// Read reads the state of all queues and companies. Rates and results are counted over the window; 0: Window. Requests that
// the broker does not answer are listed in Unread of the overviews. The only error is that of ctx.
func (r *Reader) Read(ctx context.Context, window time.Duration) (*Reading, error) {
	v := &Reading{Reader: r, at: time.Now(), window: cmp.Or(window, Window), companies: map[int64]*operatorv1.CompanyState{}}
	for id := range r.Companies {
		v.company(id)
	}
	var all sync.WaitGroup
	v.queues = make([]*queue, len(topology.Durables()))
	for i, d := range topology.Durables() {
		v.queues[i] = &queue{Queue: request.Queue{Durable: d}, report: &operatorv1.Queue{Stage: d.Name}}
		all.Go(func() { v.readQueue(ctx, d, v.queues[i]) })
	}
	all.Go(func() { v.readLosses(ctx, v.readDeadLetters(ctx)) })
	all.Go(func() { v.readQuotas(ctx) })
	streams := v.readStreams(ctx, &all)
	all.Wait()
	setRates(v.queues, streams)
	v.readRetries(ctx, v.queues)
	v.readTroubles(ctx)
	v.readPauses(ctx)
	for _, c := range v.companies {
		slices.SortFunc(c.Troubles, func(a, b *operatorv1.Trouble) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
		})
		c.WaitingFor = v.waitingFor(c)
	}
	return v, ctx.Err()
}

// Reading is the state of all queues and companies at one time. It is not changed after Read has returned, so Overview may be
// called concurrently.
type Reading struct {
	*Reader
	at        time.Time
	window    time.Duration
	queues    []*queue
	mu        sync.Mutex // guards the fields below, and the queues, until Read returns
	companies map[int64]*operatorv1.CompanyState
	unread    []string
	notes     []note
	losses    []bus.Loss
	pauses    []state.Pause
}

// note says where a reading is incomplete.
type note struct {
	company int64 // whose callers may see it; 0: all callers
	text    string
}

// company returns a company's state. The caller holds mu, or is the only goroutine.
func (v *Reading) company(id int64) *operatorv1.CompanyState {
	if v.companies[id] == nil {
		name, served := v.Companies[id]
		v.companies[id] = &operatorv1.CompanyState{Id: id, Name: name, Served: served, Client: v.clientName(id)}
	}
	return v.companies[id]
}

func (v *Reading) addUnread(what string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unread = append(v.unread, fmt.Sprintf("%s: %v", what, err))
}

func (v *Reading) addNote(company int64, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.notes = append(v.notes, note{company, fmt.Sprintf(format, args...)})
}

// Overview reports some companies, without Series; companies nil: all. It has nothing of other companies, except that the
// counts and rates of the queues are those of all companies. The CompanyStates are shared with other overviews of the reading
// and must not be changed.
func (v *Reading) Overview(companies []int64) *operatorv1.Overview {
	o := &overview{Reading: v, only: companies, report: &operatorv1.Overview{
		At: timestamppb.New(v.at), Window: durationpb.New(v.window), Version: telemetry.Version, Unread: slices.Sorted(slices.Values(v.unread)),
	}}
	for _, n := range v.notes {
		if n.company == 0 || o.has(n.company) {
			o.report.Notes = append(o.report.Notes, n.text)
		}
	}
	slices.Sort(o.report.Notes)
	for _, q := range v.queues {
		o.report.Queues = append(o.report.Queues, q.of(o.has))
	}
	for _, id := range slices.Sorted(maps.Keys(v.companies)) {
		if o.has(id) {
			o.report.Companies = append(o.report.Companies, v.companies[id])
		}
	}
	o.report.Attention = o.attention()
	return o.report
}

// overview is a report while it is made.
type overview struct {
	*Reading
	only   []int64 // the companies that are reported; nil: all
	report *operatorv1.Overview
}

// has reports whether the report has a company.
func (v *overview) has(id int64) bool { return v.only == nil || slices.Contains(v.only, id) }
