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
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// slowMonitor watches the events that the workers have not finished.
//
//	not finished after slow          it reports the event as in progress, with the reason
//	not finished at its deadline     it closes the event as failed; see request.Expire
//
// It ignores events that have no deadline, because they name no request detail, and no user waits for them.
type slowMonitor struct {
	bus       *bus.Bus
	zone      func(company int64) *time.Location
	deadlines request.Deadlines
	slow      time.Duration
	log       *zap.Logger
	expired   *prometheus.CounterVec
	report    func(context.Context, *tiebackv1.Outcome) error // without recording it in tb.closed
	now       func() time.Time
	created   time.Time             // of the event stream; older events were restored from a backup
	next      uint64                // sequence of the next event to read
	last      uint64                // last sequence of the event stream at the previous check
	events    map[uint64]*slowEvent // by sequence

	mu        sync.Mutex
	troubles  map[int64]error                 // by company, cached for one check; a nil value: no trouble is known
	progress  map[catalogue.Category]progress // consumers by category, cached for one check
	reporting map[int64]int                   // by company: the number of running reports
	reports   sync.WaitGroup
}

// slowEvent is an event that was slow, or past its deadline, and unfinished at the last check.
type slowEvent struct {
	message  bus.Message
	event    *tiebackv1.Event
	deadline time.Time
	state    atomic.Int32 // statePending, stateReporting or stateReported
}

// The values of slowEvent.state say whether the event was reported as in progress.
const (
	statePending int32 = iota
	stateReporting
	stateReported
)

// checkInterval is the time between two checks.
const checkInterval = 10 * time.Second

// run checks at each interval until ctx ends.
func (s *slowMonitor) run(ctx context.Context, every time.Duration) {
	defer s.reports.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := s.check(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("could not check slow events, will try again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// check finds events that have become slow, closes the ones past their deadline, and reports the others as in progress.
func (s *slowMonitor) check(ctx context.Context) error {
	if err := s.findSlow(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.troubles, s.progress = map[int64]error{}, map[catalogue.Category]progress{}
	s.mu.Unlock()
	err := s.expire(ctx)
	s.reportSlow(ctx)
	return err
}

// findSlow finds the events that have become slow since the last check.
func (s *slowMonitor) findSlow(ctx context.Context) error {
	var names []string
	for _, c := range catalogue.Categories {
		names = append(names, string(c))
	}
	// AckFloor returns math.MaxUint64 if the consumers have nothing left to do. There may be events that they do not know yet,
	// because in a cluster a consumer's leader may lag behind the stream's. So s.next skips only events that the stream already
	// had at the previous check.
	before := s.last
	last, err := s.bus.LastSequence(ctx, bus.Event)
	if err != nil {
		return err
	}
	s.last = last
	floor, err := s.bus.AckFloor(ctx, bus.Event, names...)
	if err != nil {
		return err
	}
	for seq := range s.events {
		if seq <= floor {
			delete(s.events, seq)
		}
	}
	s.next = max(s.next, min(floor, before)+1)
	if s.next > last {
		return nil
	}
	s.next, err = s.bus.Read(ctx, bus.Event, s.next, s.now().Add(-min(s.slow, s.deadlines.Interactive, s.deadlines.Sync)), func(m bus.Message) error {
		return s.consider(ctx, m)
	})
	return err
}

// consider adds an event to s.events if it has a deadline and has not ended.
func (s *slowMonitor) consider(ctx context.Context, m bus.Message) error {
	e := &tiebackv1.Event{}
	if m.Subject == (bus.Subject{}) || bus.Decode(m, e) != nil {
		return nil
	}
	due, ok := s.deadlines.Due(m)
	if !ok {
		return nil
	}
	if m.Stored.Before(s.created) { // a worker must have time to find that it was finished after the backup
		due = due.Add(s.created.Sub(m.Stored))
	}
	end, err := request.EndOf(ctx, s.bus, m)
	if err != nil {
		return err
	}
	if end.Ended() {
		return request.RepairExpired(ctx, s.bus, m, end)
	}
	s.events[m.Sequence] = &slowEvent{message: m, event: e, deadline: due}
	return nil
}

// expire closes the events that are past their deadline as failed, and dead-letters them. An event that could not be closed is
// tried again at the next check, and does not delay the others.
func (s *slowMonitor) expire(ctx context.Context) error {
	var errs []error
	for seq, e := range s.events {
		if s.now().Before(e.deadline) {
			continue
		}
		cause := deadlineError(e.deadline.Sub(e.message.Stored), s.why(ctx, e), s.zone(e.event.CompanyId), s.now())
		failed := outcomeOf(e.event)
		failed.CloseOuts, failed.ProcoreCalls = payload.Failed(e.event.Payload, cause), 1
		expired, err := request.Expire(ctx, s.bus, e.message, failed, cause)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		delete(s.events, seq)
		if expired {
			s.expired.WithLabelValues(e.event.Type).Inc()
			s.log.Error("deadline passed: closed as failed and dead-lettered", zap.String("subject", e.message.RawSubject))
		}
	}
	return errors.Join(errs...)
}

// why returns the reason why an event waits: the first of
//
//	the failure of its last attempt, if it has a user message
//	the trouble of its company, if no attempt has failed, or if the last one failed because a system was busy, or failed in
//	  the system that is in trouble
//	the failure of its last attempt
//	the state of the queue, see queueReason
//
// The event may have no failed attempt although its company is in trouble, because an attempt whose call hangs has not failed yet,
// and while one event waits because the ERP asked for a pause, the company's other events are not attempted. why returns nil if
// no reason is known.
func (s *slowMonitor) why(ctx context.Context, e *slowEvent) error {
	subject := e.message.Subject
	attempts, err := s.bus.Attempts(ctx, bus.AttemptKey{Stream: e.message.Stream, Consumer: string(subject.Category), Sequence: e.message.Sequence})
	if err != nil {
		return nil // without a reason, the message is merely less specific
	}
	failure := attempts.Failure()
	if failure != nil && fault.UserMessage(failure, "") != "" {
		return failure
	}
	trouble := s.trouble(ctx, subject.Company)
	switch {
	case trouble != nil && (failure == nil || fault.ReasonOf(failure) == fault.Busy || fault.SourceOf(failure) == fault.SourceOf(trouble)):
		return trouble
	case failure != nil:
		return failure
	}
	return s.queueReason(ctx, e)
}

// trouble returns the trouble that the services have recorded for a company, or nil. It reads the state once per check.
func (s *slowMonitor) trouble(ctx context.Context, company int64) error {
	s.mu.Lock()
	err, known := s.troubles[company]
	s.mu.Unlock()
	if known {
		return err
	}
	for _, source := range []fault.Source{"", fault.FromERP, fault.FromProcore} {
		if t, bad, failed := state.Of(s.bus).TroubleOf(ctx, company, source); failed == nil && bad && err == nil {
			err = t.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles[company] = err
	return err
}

// progress is the progress of a category's consumer.
type progress struct {
	delivered  uint64
	unfinished int
	served     bool // a process pulls messages, or has unfinished ones
	err        error
}

// queueReason returns the reason why an event waits, from the progress of its consumer: no process takes the consumer's events, or
// other events are ahead of this one. It returns nil if a worker has the event, or has had it.
func (s *slowMonitor) queueReason(ctx context.Context, e *slowEvent) error {
	category := e.message.Subject.Category
	switch p := s.progressOf(ctx, category); {
	case p.err != nil:
		return nil
	case !p.served:
		return &fault.Error{Reason: fault.NotRunning, Err: fmt.Errorf("no process takes the events of %s", category)}
	case e.message.Sequence > p.delivered && p.unfinished > 0:
		return &fault.Error{Reason: fault.Queued, Err: errors.New("no attempt has ended: other events are ahead of it")}
	}
	return nil
}

// progressOf returns the progress of a category's consumer. It asks the broker once per check, or twice if no process serves the
// consumer, because a process may be between two pulls.
func (s *slowMonitor) progressOf(ctx context.Context, c catalogue.Category) progress {
	s.mu.Lock()
	p, known := s.progress[c]
	s.mu.Unlock()
	if known {
		return p
	}
	for range 2 {
		p.delivered, p.unfinished, p.served, p.err = s.bus.Progress(ctx, bus.Event, string(c))
		if p.served || p.err != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenPulls):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress[c] = p
	return p
}

// betweenPulls is the longest time between two pulls of a process.
const betweenPulls = 300 * time.Millisecond

// reportSlow reports each slow event as in progress, once. The reports run concurrently, so that they share calls. reportSlow
// does not wait for them, so that a company whose calls hang does not delay the deadlines of other companies.
func (s *slowMonitor) reportSlow(ctx context.Context) {
	for _, e := range s.events {
		company := e.event.CompanyId
		if s.now().Before(e.message.Stored.Add(s.slow)) || !s.startReport(company, e) {
			continue
		}
		s.reports.Go(func() {
			defer s.endReport(company)
			end, err := request.EndOf(ctx, s.bus, e.message)
			if err == nil && !end.Ended() {
				err = s.reportInProgress(ctx, e)
			}
			if err != nil {
				e.state.Store(statePending) // the next check tries again
				s.log.Debug("could not report an event as in progress", zap.String("subject", e.message.RawSubject), zap.Error(err))
				return
			}
			e.state.Store(stateReported)
		})
	}
}

// startReport reserves a report of the event. It returns false if the event was reported or is being reported, or if its
// company has maxBatch reports running.
func (s *slowMonitor) startReport(company int64, e *slowEvent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reporting[company] >= maxBatch || !e.state.CompareAndSwap(statePending, stateReporting) {
		return false
	}
	s.reporting[company]++
	return true
}

func (s *slowMonitor) endReport(company int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reporting[company]--; s.reporting[company] == 0 {
		delete(s.reporting, company)
	}
}

// reportInProgress reports an event as in progress. If its end was reported to Procore in the meantime, the end is reported again,
// so that the end is the last status. If the event was called off, its outcome is published.
func (s *slowMonitor) reportInProgress(ctx context.Context, e *slowEvent) error {
	outcome := s.inProgress(ctx, e)
	if err := s.report(ctx, outcome); err != nil {
		return err
	}
	if skipped := calledOff(outcome); skipped != nil {
		s.log.Info("an event that was called off in Procore is not processed", zap.String("subject", e.message.RawSubject), zap.String("status", skipped.SkipReason))
		subject := e.message.Subject
		subject.Kind = bus.Outcome
		return s.bus.PublishOnce(ctx, subject, skipped)
	}
	end := e.message.Subject
	end.Kind = bus.Closed
	m, ended, err := s.bus.Last(ctx, end)
	if err != nil || !ended {
		return err
	}
	out := &tiebackv1.Outcome{}
	if err := bus.Decode(m, out); err != nil {
		return err
	}
	for _, c := range out.CloseOuts { // the updates of the records were made
		c.Marks, c.Assignments, c.BudgetTransactions, c.Unlinks, c.Links = nil, nil, nil, nil, nil
	}
	return s.report(ctx, out)
}

// calledOff returns the outcome of an event whose request details were all called off in Procore, or had an unknown status, before
// they were reported as in progress. It returns nil for any other event. If the worker has published an outcome, the broker keeps
// the worker's.
func calledOff(reported *tiebackv1.Outcome) *tiebackv1.Outcome {
	out := &tiebackv1.Outcome{CompanyId: reported.CompanyId, ErpRequestId: reported.ErpRequestId, Type: reported.Type, RequestedAt: reported.RequestedAt, ProcoreCalls: 1}
	for _, c := range reported.CloseOuts {
		if !procore.PreventsProcessing(c.KeptStatus) {
			return nil
		}
		out.SkipReason = c.KeptStatus
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus})
	}
	return out
}

// inProgress returns an outcome that reports an event as in progress, with the reason why it waits.
func (s *slowMonitor) inProgress(ctx context.Context, e *slowEvent) *tiebackv1.Outcome {
	out := outcomeOf(e.event)
	message := waitingMessage(s.why(ctx, e), e.deadline, s.zone(e.event.CompanyId), s.now())
	for _, id := range procore.RequestDetails(e.event.Payload) {
		out.CloseOuts = append(out.CloseOuts, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_IN_PROGRESS, Messages: []string{message},
		})
	}
	return out
}

// outcomeOf returns an outcome of an event, without close-outs.
func outcomeOf(e *tiebackv1.Event) *tiebackv1.Outcome {
	return &tiebackv1.Outcome{CompanyId: e.CompanyId, ErpRequestId: e.ErpRequestId, Type: e.Type, RequestedAt: e.RequestedAt}
}
