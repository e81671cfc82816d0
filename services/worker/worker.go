// Package worker is the runtime that the five category services share: it takes events of
// one category, hands each to its type's handler, and publishes the outcome.
//
// What becomes of an event, by what its handler returns:
//
//	close-outs, nil     one Outcome; refusals of single records are close-outs that say failed
//	permanent error     dead-lettered, and every request detail of the payload closed as failed
//	any other error     comes again; see bus.Consumer
//
// A failed close-out that no request detail can carry is dead-lettered as well: otherwise
// nobody would learn of it.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/telemetry"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/deadline"
	"github.com/tieback/tieback/services/worker/payload"
)

// Task is one event at work, with all that its handler may use.
type Task struct {
	Event       *tiebackv1.Event
	Redelivered bool // it was worked before, and how that ended is not known
	Fresh       bool // it came a moment ago: what it refers to may be on its way into the ERP
	Row         catalogue.EventType
	Payload     payload.Request
	Company     *company.Company
	ERP         *connector.ERP
	Procore     *procore.Session
	State       State

	before func(context.Context) error // see connector.RequestRef
	booked bool
}

// LinkedAs picks the item type that a link's record is linked as. Where no link of it is known, it is the last: a purchase
// order, where the payload does not say which commitment.
func (t *Task) LinkedAs(ctx context.Context, link payload.Link) (string, error) {
	last := link.ItemTypes[len(link.ItemTypes)-1]
	for _, itemType := range link.ItemTypes[:len(link.ItemTypes)-1] {
		origin, err := t.State.LinkOf(ctx, t.Event.CompanyId, itemType, link.Record.ProcoreId)
		if err != nil || origin != "" && origin == link.Record.OriginId {
			return itemType, err
		}
	}
	return last, nil
}

// RequestRef names the event to the ERP.
func (t *Task) RequestRef() connector.RequestRef {
	return connector.RequestRef{Order: t.Order(), Redelivered: t.Redelivered, Before: t.before}
}

// Book books a record for the event.
func (t *Task) Book(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	b, err := t.ERP.Book(ctx, t.RequestRef(), r)
	t.booked = t.booked || err == nil
	return b, err
}

// Order is the event's place among the company's requests.
func (t *Task) Order() order.Key { return order.Of(t.Event) }

// State is what handlers read and write of what the pipeline remembers; bus.State does it.
type State interface {
	// LinkOf is the origin id that Procore has for a record; "": none that we know of.
	LinkOf(ctx context.Context, company int64, itemType string, itemID int64) (string, error)
	// Links maps origin id to item id, for every linked record of a company's item type.
	Links(ctx context.Context, company int64, itemType string) (map[string]int64, error)
	// Cursor is up to where the ERP's changes of an entity are in Procore; "": nothing yet.
	Cursor(ctx context.Context, company int64, entity string) (string, error)
	// SaveCursor keeps a cursor; call it only after Procore has everything up to it.
	SaveCursor(ctx context.Context, company int64, entity, cursor string) error
}

// Handler does one event type's work and says how it ended. It must be safe to run again
// after a crash at any point.
type Handler func(context.Context, *Task) ([]*tiebackv1.CloseOut, error)

// Handlers are a category's, by event type name: one for each row of the catalogue.
type Handlers map[string]Handler

// Deps are what a worker service needs from its process.
type Deps struct {
	Bus         *bus.Bus
	Companies   company.Set
	Procore     *procore.Client
	ERPs        *connector.Shared
	Log         *zap.Logger
	Metrics     *telemetry.Stages
	Calls       *connector.Metrics
	Concurrency int           // events at once; 0: 256
	Backoff     time.Duration // before the second attempt; 0: 1 s
	Deadline    time.Duration // of the category's events; 0: none
	Slow        time.Duration // until Procore is asked whether an event was called off meanwhile; 0: a minute
}

// Run is the service of one category: New and Service.Run with what the process has.
func Run(ctx context.Context, a *tenant.App, c catalogue.Category, handlers Handlers) error {
	s, err := New(ctx, c, handlers, Deps{
		Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, ERPs: a.ERPs, Log: a.Log, Metrics: a.Metrics, Calls: a.Calls,
		Backoff: a.Backoff, Deadline: deadline.Limits{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}.Of(c), Slow: a.Slow,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Service works one category.
type Service struct {
	Deps
	category catalogue.Category
	handlers Handlers
	erps     map[int64]*connector.ERP
	unopened map[int64]error // why a company has none
}

// New checks that the handlers are the category's, no fewer and no more, and opens the
// companies' connectors. Run closes them. A company whose connector can't be opened does not stop
// the others: its events fail until a restart. It is an error only where none is left.
func New(ctx context.Context, c catalogue.Category, handlers Handlers, d Deps) (*Service, error) {
	if err := complete(c, handlers); err != nil {
		return nil, err
	}
	s := &Service{Deps: d, category: c, handlers: handlers, erps: map[int64]*connector.ERP{}, unopened: map[int64]error{}}
	for id, co := range d.Companies {
		erp, err := d.ERPs.Open(ctx, co.Driver, co.Settings, connector.Config{Company: id, Generations: d.Bus.State(), Log: d.Log, Metrics: d.Calls})
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
		d.Log.Error("a company's events can't be worked: correct its connector's settings, then restart Tieback", zap.Int64("company", id), zap.Error(err))
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

// Run works events until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	err := s.Bus.Consume(ctx, bus.Consumer{
		Kind: bus.Event, Name: string(s.category),
		Concurrency: s.Concurrency, Backoff: s.Backoff, Patience: s.Deadline,
		Handle: s.handle, Done: s.ended, GiveUp: s.giveUp, Observe: s.Metrics.Observer(string(s.category), s.Log),
	})
	return errors.Join(err, s.close())
}

func (s *Service) handle(ctx context.Context, m bus.Message) error {
	task, err := s.task(m)
	if err != nil {
		return err
	}
	if !task.Company.InScope(task.Event.RequestedAt.AsTime()) {
		return s.publish(ctx, m, task.Event, &tiebackv1.Outcome{Left: bus.LeftOlder, ProcoreCalls: 1})
	}
	task.before = s.before(m, task)
	calls := new(atomic.Int32)
	calls.Store(1) // the fetcher's
	counted := procore.Counted(ctx, calls)
	if s.category == catalogue.Sync {
		counted = connector.Bulk(procore.Bulk(counted))
	}
	closeOuts, err := s.handlers[task.Row.Name](counted, task)
	if off := (*calledOff)(nil); errors.As(err, &off) {
		return s.leave(ctx, m, task, off)
	}
	if err != nil {
		return err
	}
	m.Say(resultOf(closeOuts))
	dead := untold(closeOuts)
	if dead != nil {
		if err := s.Bus.Bury(ctx, string(s.category), m, dead); err != nil {
			return err
		}
	}
	return s.publish(ctx, m, task.Event, &tiebackv1.Outcome{CloseOuts: closeOuts, DeadLettered: dead != nil, ProcoreCalls: calls.Load()})
}

// freshFor is how many Backoffs an event is fresh: 10 s, in which it is worked about four times.
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
		Event: event, Redelivered: m.Repeat, Fresh: time.Since(m.Stored) < freshFor*cmp.Or(s.Backoff, time.Second), Row: row, Payload: request, Company: co,
		ERP: s.erps[event.CompanyId], Procore: session, State: s.Bus.State(),
	}, nil
}

// resultOf is how an event came out, with the reasons of what was refused, each once.
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

// maxReasons is how many reasons a line of the log names.
const maxReasons = 5

// untold collects the failures that no request detail can carry.
func untold(closeOuts []*tiebackv1.CloseOut) error {
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

// ended says whether an event has its end: it was worked and only its ack was lost, or its deadline passed.
func (s *Service) ended(ctx context.Context, m bus.Message) (bool, error) {
	ended, _, err := deadline.Ended(ctx, s.Bus, m)
	return ended, err
}

// publish sends o, with what names the event filled in. Where the deadline was told meanwhile,
// what was done in the ERP is told after it; an event that was given up adds nothing to that.
func (s *Service) publish(ctx context.Context, m bus.Message, e *tiebackv1.Event, o *tiebackv1.Outcome) error {
	o.CompanyId, o.ErpRequestId, o.Type, o.RequestedAt = m.Subject.Company, m.Subject.Request, m.Subject.Type, e.GetRequestedAt()
	subject := bus.For(bus.Outcome, o.Type, o.CompanyId, o.ErpRequestId).WithRun(m.Subject.Run)
	first, err := s.Bus.Claim(ctx, subject, o)
	if err != nil || first {
		return err
	}
	_, expired, err := deadline.Claimed(ctx, s.Bus, m)
	if err != nil || !expired || o.Left != "" || o.DeadLettered && !slices.ContainsFunc(o.CloseOuts, succeeded) {
		return err
	}
	return s.Bus.PublishOnce(ctx, subject.Late(), o)
}

func succeeded(c *tiebackv1.CloseOut) bool { return c.Status == tiebackv1.Status_STATUS_SUCCESS }

// giveUp buries the event, then has every request detail of its payload closed as failed.
func (s *Service) giveUp(ctx context.Context, m bus.Message, cause error) error {
	if err := s.Bus.Bury(ctx, string(s.category), m, cause); err != nil {
		return err
	}
	event := &tiebackv1.Event{}
	if bus.Decode(m, event) != nil {
		return nil // not an event of ours: there is nobody to tell
	}
	return s.publish(ctx, m, event, &tiebackv1.Outcome{CloseOuts: payload.Failed(event.Payload, cause), DeadLettered: true, ProcoreCalls: 1})
}
