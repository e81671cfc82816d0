package statusreporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/deadline"
	"github.com/tieback/tieback/services/worker/payload"
)

// watch looks after the events whose users wait longer than they should.
//
//	not done after slow              told as in progress, with what it waits for
//	not done at its deadline         closed as failed; see package deadline
//
// It reads only what the workers have not finished: nothing on a quiet pipeline. Events without a
// request detail keep no button busy and are left to their workers' patience.
type watch struct {
	bus     *bus.Bus
	zones   company.Set // whose users read times
	limits  deadline.Limits
	slow    time.Duration
	log     *zap.Logger
	expired *prometheus.CounterVec
	tell    func(context.Context, *tiebackv1.Outcome) error // without noting it as closed
	now     func() time.Time
	next    uint64           // of the event stream: the first that was not looked at
	last    uint64           // of the event stream: its last one at the look before
	open    map[uint64]*open // by sequence

	mu      sync.Mutex
	trouble map[trouble]error // how an attempt ended lately
	telling map[int64]int     // by company: how many are being told as in progress now
	tells   sync.WaitGroup
}

// trouble is shared by the events of a company and category.
type trouble struct {
	company  int64
	category catalogue.Category
}

// open is an event that was slow when last looked at.
type open struct {
	message bus.Message
	event   *tiebackv1.Event
	expires time.Time
	said    atomic.Int32
}

// What was said of an open event.
const (
	nothing int32 = iota
	saying
	inProgress
)

const (
	watchEvery = 10 * time.Second
	slowAfter  = time.Minute
)

// run looks every so often until ctx ends.
func (w *watch) run(ctx context.Context, every time.Duration) {
	defer w.tells.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("could not look after slow events, will try again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *watch) round(ctx context.Context) error {
	if err := w.look(ctx); err != nil {
		return err
	}
	if w.due() {
		w.learn(ctx)
	}
	err := w.expire(ctx)
	w.tellSlow(ctx)
	return err
}

// look finds what has become slow since the last round.
func (w *watch) look(ctx context.Context) error {
	var names []string
	for _, c := range catalogue.Categories {
		names = append(names, string(c))
	}
	// First: what comes after it is not among what the floor says is finished. And of the look before:
	// in a cluster the leader of a consumer may not know yet what the stream's has.
	before := w.last
	last, err := w.bus.LastSequence(ctx, bus.Event)
	if err != nil {
		return err
	}
	w.last = last
	floor, err := w.bus.Floor(ctx, bus.Event, names...)
	if err != nil {
		return err
	}
	for seq := range w.open {
		if seq <= floor {
			delete(w.open, seq)
		}
	}
	w.next = max(w.next, min(floor, before)+1)
	if w.next > last {
		return nil
	}
	w.next, err = w.bus.Read(ctx, bus.Event, w.next, w.now().Add(-min(w.slow, w.limits.Interactive, w.limits.Sync)), func(m bus.Message) error {
		return w.consider(ctx, m)
	})
	return err
}

// consider takes an event on that has not ended and that somebody waits for.
func (w *watch) consider(ctx context.Context, m bus.Message) error {
	e := &tiebackv1.Event{}
	if m.Subject == (bus.Subject{}) || bus.Decode(m, e) != nil || len(payload.Details(e.Payload)) == 0 {
		return nil
	}
	ended, _, err := deadline.Ended(ctx, w.bus, m)
	if err != nil || ended {
		return err
	}
	w.open[m.Sequence] = &open{message: m, event: e, expires: m.Stored.Add(w.limits.Of(m.Subject.Category))}
	return nil
}

// due says whether anything is to be told.
func (w *watch) due() bool {
	for _, o := range w.open {
		if o.said.Load() == nothing || !w.now().Before(o.expires) {
			return true
		}
	}
	return false
}

// expire ends what has passed its deadline. What could not be ended is tried again by the next
// round, and holds up no other.
func (w *watch) expire(ctx context.Context) error {
	var errs []error
	for seq, o := range w.open {
		if w.now().Before(o.expires) {
			continue
		}
		expired, err := deadline.Expire(ctx, w.bus, o.message, o.event, w.limits.Of(o.message.Subject.Category), w.why(ctx, o))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		delete(w.open, seq)
		if expired {
			w.expired.WithLabelValues(o.event.Type).Inc()
			w.log.Error("deadline passed: closed as failed and dead-lettered", zap.String("subject", o.message.Raw))
		}
	}
	return errors.Join(errs...)
}

// why is how the last attempt ended. Of an event that none was made at, as its ERP is down and only
// asked now and then, how those of its company and category ended; nil where nothing is known.
func (w *watch) why(ctx context.Context, o *open) error {
	s := o.message.Subject
	err, failed := w.bus.State().LastFailure(ctx, o.message.Stream, string(s.Category), o.message.Sequence)
	if failed != nil {
		return nil // it is only said less well
	}
	if err != nil {
		w.mu.Lock()
		w.trouble[trouble{s.Company, s.Category}] = err
		w.mu.Unlock()
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble[trouble{s.Company, s.Category}]
}

// learn asks why of every event that is open, and forgets what troubled those that are no more.
func (w *watch) learn(ctx context.Context) {
	w.mu.Lock()
	w.trouble = map[trouble]error{}
	w.mu.Unlock()
	for _, o := range w.open {
		_ = w.why(ctx, o)
	}
}

// tellSlow has what is slow told, once, all of it in one round, so that it shares its calls. It waits
// for none: a company whose Procore does not answer must not keep the others' deadlines.
func (w *watch) tellSlow(ctx context.Context) {
	for _, o := range w.open {
		company := o.event.CompanyId
		if w.now().Before(o.message.Stored.Add(w.slow)) || !w.begin(company, o) {
			continue
		}
		w.tells.Go(func() {
			defer w.end(company)
			ended, _, err := deadline.Ended(ctx, w.bus, o.message)
			if err == nil && !ended {
				err = w.sayWaiting(ctx, o)
			}
			if err != nil {
				o.said.Store(nothing) // the next round tries again
				w.log.Debug("could not tell that an event is in progress", zap.String("subject", o.message.Raw), zap.Error(err))
				return
			}
			o.said.Store(inProgress)
		})
	}
}

// begin says whether an event is to be told now: it was not, and its company has not too many under way.
func (w *watch) begin(company int64, o *open) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.telling[company] >= maxBatch || !o.said.CompareAndSwap(nothing, saying) {
		return false
	}
	w.telling[company]++
	return true
}

func (w *watch) end(company int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.telling[company]--; w.telling[company] == 0 {
		delete(w.telling, company)
	}
}

// sayWaiting tells that an event is in progress. Where its end was told meanwhile, by another
// process, it is told again: the last word must be the end.
func (w *watch) sayWaiting(ctx context.Context, o *open) error {
	if err := w.tell(ctx, w.waiting(ctx, o)); err != nil {
		return err
	}
	end := o.message.Subject
	end.Kind = bus.Closed
	m, ended, err := w.bus.Last(ctx, end)
	if err != nil || !ended {
		return err
	}
	out := &tiebackv1.Outcome{}
	if err := bus.Decode(m, out); err != nil {
		return err
	}
	for _, c := range out.CloseOuts { // the marks have been made
		c.Marks, c.Assignments, c.BudgetTransactions, c.Unlinks, c.Links = nil, nil, nil, nil, nil
	}
	return w.tell(ctx, out)
}

// clock is a time of day as the company's users read it, such as 19:30 CST.
func (w *watch) clock(company int64, at time.Time) string {
	zone := time.UTC
	if co := w.zones[company]; co != nil {
		zone = co.Zone
	}
	return at.In(zone).Format("15:04 MST")
}

// waiting is an outcome that says that it is none yet.
func (w *watch) waiting(ctx context.Context, o *open) *tiebackv1.Outcome {
	out := &tiebackv1.Outcome{CompanyId: o.event.CompanyId, ErpRequestId: o.event.ErpRequestId, Type: o.event.Type, RequestedAt: o.event.RequestedAt}
	sentence := fmt.Sprintf("This takes longer than usual. %s The ERP integration goes on trying until %s.",
		fault.Sentence(w.why(ctx, o), "The ERP integration has other work before it."), w.clock(o.event.CompanyId, o.expires))
	for _, id := range payload.Details(o.event.Payload) {
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_IN_PROGRESS, Messages: []string{sentence},
		})
	}
	return out
}
