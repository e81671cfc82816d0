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
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/overdue"
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
	zone    func(company int64) *time.Location
	limits  request.Limits
	slow    time.Duration
	log     *zap.Logger
	expired *prometheus.CounterVec
	tell    func(context.Context, *tiebackv1.Outcome) error // without noting it as closed
	now     func() time.Time
	next    uint64           // of the event stream: the first that was not looked at
	last    uint64           // of the event stream: its last one at the look before
	open    map[uint64]*open // by sequence

	mu      sync.Mutex
	known   map[int64]error               // by company: what is wrong with it; nil: nothing is known. Of one round
	places  map[catalogue.Category]handed // likewise
	telling map[int64]int                 // by company: how many are being told as in progress now
	tells   sync.WaitGroup
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
	w.mu.Lock()
	w.known, w.places = map[int64]error{}, map[catalogue.Category]handed{}
	w.mu.Unlock()
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
	floor, err := w.bus.AckFloor(ctx, bus.Event, names...)
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
	if m.Subject == (bus.Subject{}) || bus.Decode(m, e) != nil {
		return nil
	}
	due, awaited := w.limits.Due(m)
	if !awaited {
		return nil
	}
	end, err := request.EndOf(ctx, w.bus, m)
	if err != nil {
		return err
	}
	if end.Ended() {
		return request.RepairExpired(ctx, w.bus, m, end)
	}
	w.open[m.Sequence] = &open{message: m, event: e, expires: due}
	return nil
}

// expire ends what has passed its deadline. What could not be ended is tried again by the next
// round, and holds up no other.
func (w *watch) expire(ctx context.Context) error {
	var errs []error
	for seq, o := range w.open {
		if w.now().Before(o.expires) {
			continue
		}
		expired, err := overdue.Expire(ctx, w.bus, o.message, o.event, o.expires.Sub(o.message.Stored), w.why(ctx, o), w.zone(o.event.CompanyId))
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

// why is what an event waits for. Its own last attempt says so, unless it only found its turn not come, or what
// the workers know of its company is newer: a call that hangs ends no attempt, and while one event waits as the
// ERP asked, those behind it are not attempted. nil: it is with a worker, and nothing is known to be wrong.
func (w *watch) why(ctx context.Context, o *open) error {
	s := o.message.Subject
	attempts, err := w.bus.Attempts(ctx, bus.AttemptKey{Stream: o.message.Stream, Consumer: string(s.Category), Sequence: o.message.Sequence})
	if err != nil {
		return nil // it is only said less well
	}
	own := attempts.Failure()
	if own != nil && fault.UserMessage(own, "") != "" {
		return own
	}
	company := w.trouble(ctx, s.Company)
	switch {
	case own == nil && company != nil, own != nil && company != nil && (fault.ReasonOf(own) == fault.Busy || fault.SourceOf(own) == fault.SourceOf(company)):
		return company
	case own != nil:
		return own
	}
	return w.place(ctx, o)
}

// trouble is what the workers know to be wrong with a company; nil: nothing. It is asked once a round.
func (w *watch) trouble(ctx context.Context, company int64) error {
	w.mu.Lock()
	err, asked := w.known[company]
	w.mu.Unlock()
	if asked {
		return err
	}
	for _, source := range []fault.Source{"", fault.FromERP, fault.FromProcore} {
		if t, bad, failed := state.Of(w.bus).TroubleOf(ctx, company, source); failed == nil && bad && err == nil {
			err = t.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known[company] = err
	return err
}

// handed is how far a category's consumer has come.
type handed struct {
	delivered  uint64
	unfinished int
	taken      bool
	err        error
}

// place says of an event of which nothing is known to be wrong whether a worker has it; nil: one has, or had.
func (w *watch) place(ctx context.Context, o *open) error {
	category := o.message.Subject.Category
	switch h := w.handed(ctx, category); {
	case h.err != nil:
		return nil
	case !h.taken:
		return &fault.Error{Reason: fault.NotRunning, Err: fmt.Errorf("no process takes the events of %s", category)}
	case o.message.Sequence > h.delivered && h.unfinished > 0:
		return &fault.Error{Reason: fault.Queued, Err: errors.New("no attempt has ended: other events are before it")}
	}
	return nil
}

// handed asks once a round. That nobody takes a category's work is believed when it was seen twice: a process may
// be between two pulls.
func (w *watch) handed(ctx context.Context, c catalogue.Category) handed {
	w.mu.Lock()
	h, asked := w.places[c]
	w.mu.Unlock()
	if asked {
		return h
	}
	for range 2 {
		h.delivered, h.unfinished, h.taken, h.err = w.bus.Progress(ctx, bus.Event, string(c))
		if h.taken || h.err != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenPulls):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[c] = h
	return h
}

// betweenPulls is how long a process may take from the end of one pull to the next.
const betweenPulls = 300 * time.Millisecond

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
			end, err := request.EndOf(ctx, w.bus, o.message)
			if err == nil && !end.Ended() {
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
	told := w.waiting(ctx, o)
	if err := w.tell(ctx, told); err != nil {
		return err
	}
	if left := calledOff(told); left != nil {
		w.log.Info("an event that was called off in Procore is not worked", zap.String("subject", o.message.Raw), zap.String("status", left.Left))
		outcome := o.message.Subject
		outcome.Kind = bus.Outcome
		left.RequestedAt = o.event.RequestedAt
		return w.bus.PublishOnce(ctx, outcome, left)
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

// calledOff is the outcome of an event whose request details were all called off before Procore could be told that
// it is in progress; nil: they were not. Where its worker was first, that one's outcome stands.
func calledOff(told *tiebackv1.Outcome) *tiebackv1.Outcome {
	left := &tiebackv1.Outcome{CompanyId: told.CompanyId, ErpRequestId: told.ErpRequestId, Type: told.Type, ProcoreCalls: 1}
	for _, c := range told.CloseOuts {
		if !procore.DetailCalledOff(c.KeptStatus) {
			return nil
		}
		left.Left = c.KeptStatus
		left.CloseOuts = append(left.CloseOuts, &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus})
	}
	return left
}

// waiting is an outcome that says that it is none yet.
func (w *watch) waiting(ctx context.Context, o *open) *tiebackv1.Outcome {
	out := &tiebackv1.Outcome{CompanyId: o.event.CompanyId, ErpRequestId: o.event.ErpRequestId, Type: o.event.Type, RequestedAt: o.event.RequestedAt}
	sentence := overdue.Waiting(w.why(ctx, o), o.expires, w.zone(o.event.CompanyId), w.now())
	for _, id := range procore.RequestDetails(o.event.Payload) {
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_IN_PROGRESS, Messages: []string{sentence},
		})
	}
	return out
}
