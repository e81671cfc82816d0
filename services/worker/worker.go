// Package worker is the runtime that the five category services share. It consumes the events of one category,
// passes each to the handler of its type, and publishes the outcome.
//
// The result of the handler decides what happens to the event:
//
//	close-outs, nil     one Outcome; a refusal of a single record is a failed close-out
//	permanent error     dead-lettered, and every request detail of the payload is closed as failed
//	any other error     redelivered; see bus.Consumer
//
// A failed close-out that belongs to no request detail is dead-lettered as well, because Procore has
// no place to show it.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/telemetry"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Task is an event to process, with the resources of its handler.
type Task struct {
	Event       *tiebackv1.Event
	Redelivered bool // an earlier attempt may have changed the ERP
	Fresh       bool // the event arrived within the last seconds, so a record that it refers to may not be booked yet
	Row         catalogue.EventType
	Payload     payload.Request
	Company     *company.Company
	ERP         *connector.ERP
	Procore     *procore.Session
	State       State

	beforeWrite func(context.Context) error // see connector.RequestRef
	booked      bool
}

// LinkedAs returns the item type under which a record is linked. If no link of the record is known, it returns
// the last item type: a purchase order, if the payload does not say which kind of commitment.
func (t *Task) LinkedAs(ctx context.Context, link payload.Link) (string, error) {
	last := link.ItemTypes[len(link.ItemTypes)-1]
	for _, itemType := range link.ItemTypes[:len(link.ItemTypes)-1] {
		origin, err := t.State.OriginID(ctx, t.Event.CompanyId, itemType, link.Record.ProcoreId)
		if err != nil || origin != "" && origin == link.Record.OriginId {
			return itemType, err
		}
	}
	return last, nil
}

// RequestRef identifies the event's request to the ERP.
func (t *Task) RequestRef() connector.RequestRef {
	return connector.RequestRef{Order: t.Order(), Redelivered: t.Redelivered, BeforeWrite: t.beforeWrite}
}

// Book books a record for the event.
func (t *Task) Book(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	b, err := t.ERP.Book(ctx, t.RequestRef(), r)
	t.booked = t.booked || err == nil
	return b, err
}

// Order returns the event's position in the order of the company's requests.
func (t *Task) Order() order.Key { return order.Of(t.Event) }

// State is the part of the pipeline's state that handlers read and write; state.State implements it.
type State interface {
	// OriginID returns the origin id that a record is linked to, or "" if no link is known.
	OriginID(ctx context.Context, company int64, itemType string, itemID int64) (string, error)
	// Links returns the item ids of all linked records of a company's item type, by origin id.
	Links(ctx context.Context, company int64, itemType string) (map[string]int64, error)
	// Cursor returns what SaveCursor stored under a key, or "": the position in an entity's changes, or progress
	// that a handler keeps.
	Cursor(ctx context.Context, company int64, key string) (string, error)
	// SaveCursor stores a cursor under a key. A position is saved only after Procore has all changes up to it.
	SaveCursor(ctx context.Context, company int64, key, cursor string) error
}

// A Handler processes events of one type and returns their close-outs. It must be safe to run again after a
// crash at any point.
type Handler func(context.Context, *Task) ([]*tiebackv1.CloseOut, error)

// Handlers are the handlers of a category by event type, one for each of its rows in the catalogue.
type Handlers map[string]Handler

// Deps are the dependencies of a worker service.
type Deps struct {
	Bus         *bus.Bus
	Companies   company.Set
	Procore     *procore.Client
	ERPs        *connector.Shared
	Log         *zap.Logger
	Metrics     *telemetry.Stages
	Calls       *connector.Metrics
	Concurrency int           // events processed at once; 0: 256
	Backoff     time.Duration // before the second attempt; 0: 1 s
	Deadline    time.Duration // of the category's events, which are retried until then; 0: RetryFor's default, see bus.Consumer
	Slow        time.Duration // after this wait Procore is asked whether an event was called off; 0: a minute
}

// Run runs the service of one category on the resources of a.
func Run(ctx context.Context, a *tenant.App, c catalogue.Category, handlers Handlers) error {
	s, err := New(ctx, c, handlers, Deps{
		Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, ERPs: a.ERPs, Log: a.Log, Metrics: a.Metrics, Calls: a.Calls,
		Backoff: a.Backoff, Deadline: request.Deadlines{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}.For(c), Slow: a.Slow,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Service processes the events of one category.
type Service struct {
	Deps
	category catalogue.Category
	handlers Handlers
	erps     map[int64]*connector.ERP
	unopened map[int64]error // by company: why its connector could not be opened
	pauses   pauses
}

// New checks that the handlers are exactly those of the category, and opens the companies' connectors. Run
// closes them. If the connector of a company can't be opened, the events of that company fail until a
// restart. New returns an error only if no connector could be opened.
func New(ctx context.Context, c catalogue.Category, handlers Handlers, d Deps) (*Service, error) {
	if err := complete(c, handlers); err != nil {
		return nil, err
	}
	s := &Service{Deps: d, category: c, handlers: handlers, erps: map[int64]*connector.ERP{}, unopened: map[int64]error{}}
	for id, co := range d.Companies {
		erp, err := d.ERPs.Open(ctx, co.Driver, co.Settings, connector.Config{Company: id, Generations: state.Of(d.Bus), Log: d.Log, Metrics: d.Calls})
		d.Calls.Opened(id, err == nil)
		if err != nil {
			s.unopened[id] = fmt.Errorf("company %d: %w", id, err)
			continue
		}
		s.erps[id] = erp
	}
	if len(s.erps) == 0 && len(s.unopened) > 0 {
		return nil, errors.Join(slices.Collect(maps.Values(s.unopened))...)
	}
	for id, err := range s.unopened {
		d.Log.Error("connector not opened, the company's events fail: correct its settings, then restart Tieback", zap.Int64("company", id), zap.Error(err))
	}
	return s, nil
}

func complete(c catalogue.Category, handlers Handlers) error {
	rows := catalogue.Of(c)
	for _, row := range rows {
		if handlers[row.Name] == nil {
			return fmt.Errorf("%s: no handler for %s", c, row.Name)
		}
	}
	if len(handlers) != len(rows) {
		return fmt.Errorf("%s: %d handlers for %d event types", c, len(handlers), len(rows))
	}
	return nil
}

func (s *Service) close() error {
	var errs []error
	for _, e := range s.erps {
		errs = append(errs, s.ERPs.Close(e))
	}
	return errors.Join(errs...)
}

// Run processes events until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	polling, stop := context.WithCancel(ctx)
	var poll sync.WaitGroup
	poll.Go(func() { s.pauses.follow(polling, state.Of(s.Bus), string(s.category), s.Log) })
	retry := make(chan bus.Subject)
	poll.Go(func() { followRetries(polling, state.Of(s.Bus).Retries, retry, s.Log) })
	defer poll.Wait()
	defer stop()
	err := s.Bus.Consume(ctx, bus.Consumer{
		Kind: bus.Event, Name: string(s.category), Paused: s.pauses.has, Retry: retry,
		Concurrency: s.Concurrency, Backoff: s.Backoff, RetryFor: s.Deadline,
		Handle: s.handle, Done: s.done, GiveUp: s.giveUp, Observe: s.Metrics.Observer(string(s.category), s.Log),
	})
	return errors.Join(err, s.close())
}

func (s *Service) handle(ctx context.Context, m bus.Message) error {
	task, err := s.task(m)
	if err != nil {
		return err
	}
	if !task.Company.InScope(task.Event.RequestedAt.AsTime()) {
		return s.publish(ctx, m, task.Event, &tiebackv1.Outcome{SkipReason: bus.SkippedOlder, ProcoreCalls: 1})
	}
	task.beforeWrite = s.beforeWrite(m, task)
	calls := new(atomic.Int32)
	calls.Store(1) // the call of the fetcher
	ctx = procore.Counted(ctx, calls)
	if s.category == catalogue.Sync {
		ctx = connector.Bulk(procore.Bulk(ctx))
	}
	closeOuts, err := s.handlers[task.Row.Name](ctx, task)
	if off := (*calledOff)(nil); errors.As(err, &off) {
		return s.finishCalledOff(ctx, m, task, off)
	}
	if err != nil {
		return err
	}
	m.SetEnd(resultOf(closeOuts))
	dead := unreportable(closeOuts)
	if dead != nil {
		if err := s.Bus.DeadLetter(ctx, string(s.category), m, dead); err != nil {
			return err
		}
	}
	return s.publish(ctx, m, task.Event, &tiebackv1.Outcome{CloseOuts: closeOuts, DeadLettered: dead != nil, ProcoreCalls: calls.Load()})
}

// freshFor is the number of Backoffs for which an event is fresh: 10 s by default, which is about four
// attempts.
const freshFor = 10

func (s *Service) task(m bus.Message) (*Task, error) {
	event := &tiebackv1.Event{}
	if err := bus.Decode(m, event); err != nil {
		return nil, err
	}
	row, ok := catalogue.Lookup(event.Type)
	if !ok || row.Category != s.category {
		return nil, fault.New(fault.Permanent, fmt.Errorf("event type %q is not one of %s", event.Type, s.category))
	}
	request, err := payload.Parse(event.Payload)
	if err != nil {
		return nil, err
	}
	session, err := s.Procore.Company(event.CompanyId)
	if err != nil {
		return nil, err
	}
	if err := s.unopened[event.CompanyId]; err != nil {
		return nil, fault.New(fault.Transient, err)
	}
	co := s.Companies[event.CompanyId]
	request.Zone = co.Zone
	return &Task{
		Event: event, Redelivered: m.Redelivered, Fresh: time.Since(m.Stored) < freshFor*cmp.Or(s.Backoff, time.Second), Row: row, Payload: request, Company: co,
		ERP: s.erps[event.CompanyId], Procore: session, State: state.Of(s.Bus),
	}, nil
}

// resultOf returns the result of an event for its log line, with the distinct reasons of its refusals.
func resultOf(closeOuts []*tiebackv1.CloseOut) (r bus.Result, reason string) {
	var reasons []string
	r = bus.ResultSuccess
	for _, c := range closeOuts {
		if c.Status != tiebackv1.Status_STATUS_FAILED {
			continue
		}
		r = bus.ResultRefused
		if text := strings.Join(c.Messages, " "); !slices.Contains(reasons, text) && len(reasons) < maxReasons {
			reasons = append(reasons, text)
		}
	}
	return r, strings.Join(reasons, " ")
}

// maxReasons is the number of reasons in a log line.
const maxReasons = 5

// unreportable returns the failures that belong to no request detail as one error.
func unreportable(closeOuts []*tiebackv1.CloseOut) error {
	var why []string
	for _, c := range closeOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED && c.RequestDetailId == 0 {
			why = append(why, strings.Join(c.Messages, " "))
		}
	}
	if why == nil {
		return nil
	}
	return fault.New(fault.Permanent, errors.New(strings.Join(why, " ")))
}

// done reports whether an event has ended, so that it may be acked, because it was processed and only its ack
// was lost, or because its deadline passed.
func (s *Service) done(ctx context.Context, m bus.Message) (bool, error) {
	end, err := request.EndOf(ctx, s.Bus, m)
	if err == nil {
		err = request.RepairExpired(ctx, s.Bus, m, end)
	}
	return end.Ended(), err
}

// publish sets the identity of the event in o and publishes it. If the event has been closed at its deadline, o is
// published as a late outcome, so that its marks are made. A late outcome is dropped if its request was not processed, or
// if it became a dead letter without any success.
func (s *Service) publish(ctx context.Context, m bus.Message, e *tiebackv1.Event, o *tiebackv1.Outcome) error {
	o.CompanyId, o.ErpRequestId, o.Type = m.Subject.Company, m.Subject.Request, m.Subject.Type
	o.RequestedAt, o.ReceivedAt = e.GetRequestedAt(), e.GetReceivedAt()
	subject := bus.For(bus.Outcome, o.Type, o.CompanyId, o.ErpRequestId).WithRun(m.Subject.Run)
	first, err := s.Bus.PublishIfAbsent(ctx, subject, o)
	if err != nil || first {
		return err
	}
	end, err := request.AwaitEnd(ctx, s.Bus, m)
	if err == nil {
		err = request.RepairExpired(ctx, s.Bus, m, end)
	}
	if err != nil || !end.Expired() || o.SkipReason != "" || o.DeadLettered && !slices.ContainsFunc(o.CloseOuts, succeeded) {
		return err
	}
	return s.Bus.PublishOnce(ctx, subject.Late(), o)
}

func succeeded(c *tiebackv1.CloseOut) bool { return c.Status == tiebackv1.Status_STATUS_SUCCESS }

// giveUp writes a dead letter for the event, then publishes an outcome that closes all request details of its
// payload as failed.
func (s *Service) giveUp(ctx context.Context, m bus.Message, cause error) error {
	if err := s.Bus.DeadLetter(ctx, string(s.category), m, cause); err != nil {
		return err
	}
	event := &tiebackv1.Event{}
	if bus.Decode(m, event) != nil {
		return nil // not an event, so it has no request details
	}
	return s.publish(ctx, m, event, &tiebackv1.Outcome{CloseOuts: payload.Failed(event.Payload, cause), DeadLettered: true, ProcoreCalls: 1})
}
