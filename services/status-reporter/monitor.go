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

// overdueMonitor handles events that take longer than they should.
//
//	not finished after slow          reports it as in progress, with the reason
//	not finished at its deadline     closes it as failed; see package overdue
//
// It reads only the events that the workers have not finished. Events without a request detail keep no button busy and
// have no deadline.
type overdueMonitor struct {
	bus       *bus.Bus
	zone      func(company int64) *time.Location
	deadlines request.Deadlines
	slow      time.Duration
	log       *zap.Logger
	expired   *prometheus.CounterVec
	report    func(context.Context, *tiebackv1.Outcome) error // without recording it in tb.closed
	now       func() time.Time
	next      uint64                // sequence of the first event that was not read
	last      uint64                // last sequence of the event stream at the previous check
	events    map[uint64]*slowEvent // slow events by sequence

	mu        sync.Mutex
	known     map[int64]error                 // troubles by company, cached for one check; a nil value: none is known
	progress  map[catalogue.Category]progress // consumers by category, cached for one check
	reporting map[int64]int                   // by company: running reports of events in progress
	reports   sync.WaitGroup
}

// slowEvent is an event that was slow at the last check.
type slowEvent struct {
	message  bus.Message
	event    *tiebackv1.Event
	deadline time.Time
	state    atomic.Int32 // statePending, stateReporting or stateReported
}

// Whether a slow event was reported as in progress.
const (
	statePending int32 = iota
	stateReporting
	stateReported
)

// Defaults of the monitor.
const (
	checkInterval = 10 * time.Second
	defaultSlow   = time.Minute
)

// run checks at each interval until ctx ends.
func (w *overdueMonitor) run(ctx context.Context, every time.Duration) {
	defer w.reports.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := w.check(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("could not check slow events, will try again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// check finds events that have become slow, closes the ones past their deadline, and reports the others as in progress.
func (w *overdueMonitor) check(ctx context.Context) error {
	if err := w.findSlow(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	w.known, w.progress = map[int64]error{}, map[catalogue.Category]progress{}
	w.mu.Unlock()
	err := w.expire(ctx)
	w.reportSlow(ctx)
	return err
}

// findSlow finds the events that have become slow since the last check.
func (w *overdueMonitor) findSlow(ctx context.Context) error {
	var names []string
	for _, c := range catalogue.Categories {
		names = append(names, string(c))
	}
	// The last sequence is read before the ack floor, so that the floor covers no event after it. For w.next
	// the floor is capped at the previous check's last sequence, because in a cluster the consumer's leader may lag
	// behind the stream's.
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
	for seq := range w.events {
		if seq <= floor {
			delete(w.events, seq)
		}
	}
	w.next = max(w.next, min(floor, before)+1)
	if w.next > last {
		return nil
	}
	w.next, err = w.bus.Read(ctx, bus.Event, w.next, w.now().Add(-min(w.slow, w.deadlines.Interactive, w.deadlines.Sync)), func(m bus.Message) error {
		return w.consider(ctx, m)
	})
	return err
}

// consider adds an event to w.events if it has not ended and has a deadline.
func (w *overdueMonitor) consider(ctx context.Context, m bus.Message) error {
	e := &tiebackv1.Event{}
	if m.Subject == (bus.Subject{}) || bus.Decode(m, e) != nil {
		return nil
	}
	due, awaited := w.deadlines.Due(m)
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
	w.events[m.Sequence] = &slowEvent{message: m, event: e, deadline: due}
	return nil
}

// expire closes the events that have passed their deadline. An event that could not be closed is tried again at the next
// check, and does not delay others.
func (w *overdueMonitor) expire(ctx context.Context) error {
	var errs []error
	for seq, o := range w.events {
		if w.now().Before(o.deadline) {
			continue
		}
		expired, err := overdue.Expire(ctx, w.bus, o.message, o.event, o.deadline.Sub(o.message.Stored), w.why(ctx, o), w.zone(o.event.CompanyId))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		delete(w.events, seq)
		if expired {
			w.expired.WithLabelValues(o.event.Type).Inc()
			w.log.Error("deadline passed: closed as failed and dead-lettered", zap.String("subject", o.message.Raw))
		}
	}
	return errors.Join(errs...)
}

// why returns the reason why an event waits. It is the failure of the last attempt. If that failure has no message for
// the user, the company's trouble takes precedence if the attempt only waited its turn, or failed because of the same
// system. If no failure is known, it is the company's trouble, or else the state of the queue: while a call hangs, no
// attempt ends; and while an event waits at the ERP's request, the events behind it are not attempted. It returns nil if
// a worker has the event and no trouble is known.
func (w *overdueMonitor) why(ctx context.Context, o *slowEvent) error {
	s := o.message.Subject
	attempts, err := w.bus.Attempts(ctx, bus.AttemptKey{Stream: o.message.Stream, Consumer: string(s.Category), Sequence: o.message.Sequence})
	if err != nil {
		return nil // without a reason, the message is merely less specific
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
	return w.queueReason(ctx, o)
}

// trouble returns the trouble that the workers have recorded for a company, or nil. It is read once per check.
func (w *overdueMonitor) trouble(ctx context.Context, company int64) error {
	w.mu.Lock()
	err, known := w.known[company]
	w.mu.Unlock()
	if known {
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

// progress is the progress of a category's consumer.
type progress struct {
	delivered  uint64
	unfinished int
	pulled     bool // a process asks for messages
	err        error
}

// queueReason returns the reason why an event without known trouble waits, or nil if a worker has it, or had it.
func (w *overdueMonitor) queueReason(ctx context.Context, o *slowEvent) error {
	category := o.message.Subject.Category
	switch p := w.progressOf(ctx, category); {
	case p.err != nil:
		return nil
	case !p.pulled:
		return &fault.Error{Reason: fault.NotRunning, Err: fmt.Errorf("no process takes the events of %s", category)}
	case o.message.Sequence > p.delivered && p.unfinished > 0:
		return &fault.Error{Reason: fault.Queued, Err: errors.New("no attempt has ended: other events are before it")}
	}
	return nil
}

// progressOf returns the progress of a category's consumer, read once per check. A consumer counts as idle only after two
// samples without a pull request, because a process may be between two pulls.
func (w *overdueMonitor) progressOf(ctx context.Context, c catalogue.Category) progress {
	w.mu.Lock()
	p, known := w.progress[c]
	w.mu.Unlock()
	if known {
		return p
	}
	for range 2 {
		p.delivered, p.unfinished, p.pulled, p.err = w.bus.Progress(ctx, bus.Event, string(c))
		if p.pulled || p.err != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenPulls):
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress[c] = p
	return p
}

// betweenPulls is the longest time between two pulls of a process.
const betweenPulls = 300 * time.Millisecond

// reportSlow reports each slow event as in progress, once. The reports run concurrently, so that they share calls, and
// reportSlow does not wait for them: a company that Procore does not answer must not delay other companies' deadlines.
func (w *overdueMonitor) reportSlow(ctx context.Context) {
	for _, o := range w.events {
		company := o.event.CompanyId
		if w.now().Before(o.message.Stored.Add(w.slow)) || !w.startReport(company, o) {
			continue
		}
		w.reports.Go(func() {
			defer w.endReport(company)
			end, err := request.EndOf(ctx, w.bus, o.message)
			if err == nil && !end.Ended() {
				err = w.reportInProgress(ctx, o)
			}
			if err != nil {
				o.state.Store(statePending) // the next check tries again
				w.log.Debug("could not report an event as in progress", zap.String("subject", o.message.Raw), zap.Error(err))
				return
			}
			o.state.Store(stateReported)
		})
	}
}

// startReport reserves a report of the event. It returns false if the event was reported or is being reported, or if its
// company has maxBatch reports running.
func (w *overdueMonitor) startReport(company int64, o *slowEvent) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reporting[company] >= maxBatch || !o.state.CompareAndSwap(statePending, stateReporting) {
		return false
	}
	w.reporting[company]++
	return true
}

func (w *overdueMonitor) endReport(company int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reporting[company]--; w.reporting[company] == 0 {
		delete(w.reporting, company)
	}
}

// reportInProgress reports an event as in progress. If another process has reported its end, the end is
// reported again, so that it is the last status.
func (w *overdueMonitor) reportInProgress(ctx context.Context, o *slowEvent) error {
	outcome := w.inProgress(ctx, o)
	if err := w.report(ctx, outcome); err != nil {
		return err
	}
	if skipped := calledOff(outcome); skipped != nil {
		w.log.Info("an event that was called off in Procore is not processed", zap.String("subject", o.message.Raw), zap.String("status", skipped.SkipReason))
		subject := o.message.Subject
		subject.Kind = bus.Outcome
		skipped.RequestedAt = o.event.RequestedAt
		return w.bus.PublishOnce(ctx, subject, skipped)
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
	for _, c := range out.CloseOuts { // the updates were made before
		c.Marks, c.Assignments, c.BudgetTransactions, c.Unlinks, c.Links = nil, nil, nil, nil, nil
	}
	return w.report(ctx, out)
}

// calledOff returns the outcome of an event whose request details were all called off in Procore before they could become
// in progress; nil: they were not. If the worker publishes an outcome first, the broker keeps the worker's.
func calledOff(reported *tiebackv1.Outcome) *tiebackv1.Outcome {
	out := &tiebackv1.Outcome{CompanyId: reported.CompanyId, ErpRequestId: reported.ErpRequestId, Type: reported.Type, ProcoreCalls: 1}
	for _, c := range reported.CloseOuts {
		if !procore.DetailCalledOff(c.KeptStatus) {
			return nil
		}
		out.SkipReason = c.KeptStatus
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus})
	}
	return out
}

// inProgress returns an outcome that reports an event as in progress, with the reason.
func (w *overdueMonitor) inProgress(ctx context.Context, o *slowEvent) *tiebackv1.Outcome {
	out := &tiebackv1.Outcome{CompanyId: o.event.CompanyId, ErpRequestId: o.event.ErpRequestId, Type: o.event.Type, RequestedAt: o.event.RequestedAt}
	message := overdue.Waiting(w.why(ctx, o), o.deadline, w.zone(o.event.CompanyId), w.now())
	for _, id := range procore.RequestDetails(o.event.Payload) {
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_IN_PROGRESS, Messages: []string{message},
		})
	}
	return out
}
