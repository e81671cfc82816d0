// Package fetcher turns a delivery, which has only an id, into an event with its payload. It gets the ERP request from
// Procore and publishes it under its event type.
package fetcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/telemetry"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const stage = "fetcher"

// delayedAfter is the age from which a delivery counts as delayed. It allows for transmission and for clock skew between Procore
// and the broker.
const delayedAfter = 2 * time.Minute

// Deps are the dependencies of the fetcher.
type Deps struct {
	Bus         *bus.Bus
	Companies   company.Set
	Procore     *procore.Client
	Log         *zap.Logger
	Metrics     *telemetry.Stages
	Concurrency int           // concurrent fetches; 0: 256
	Backoff     time.Duration // before the second attempt; 0: 1 s
}

// Run runs the service with the resources of its process.
func Run(ctx context.Context, a *tenant.App) error {
	return New(Deps{Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, Log: a.Log, Metrics: a.Metrics, Backoff: a.Backoff}).Run(ctx)
}

// Service is the fetcher.
type Service struct{ Deps }

// New returns the service.
func New(d Deps) *Service { return &Service{d} }

// Run fetches until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return s.Bus.Consume(ctx, bus.Consumer{
		Kind: bus.Delivery, Name: stage, Concurrency: s.Concurrency, Backoff: s.Backoff, RetryFor: bus.Day,
		Handle: s.handle, Done: s.done, GiveUp: s.giveUp, Observe: s.Metrics.Observer(stage, s.Log),
	})
}

// unprocessable is the error of an ERP request that was fetched but can't be processed. The request details in its payload must be
// closed.
type unprocessable struct {
	payload []byte
	cause   error
}

func (u *unprocessable) Error() string { return u.cause.Error() }
func (u *unprocessable) Unwrap() error { return u.cause }

// handle fetches the ERP request of a delivery and publishes its event.
func (s *Service) handle(ctx context.Context, m bus.Message) error {
	var d tiebackv1.Delivery
	if err := bus.Decode(m, &d); err != nil {
		return err
	}
	session, err := s.Procore.Company(d.CompanyId)
	if err != nil {
		return err
	}
	settings := s.Companies[d.CompanyId]
	if d.OccurredAt.IsValid() && !settings.InScope(d.OccurredAt.AsTime()) { // no call is needed
		return s.skip(ctx, m, &d)
	}
	ctx, release := procore.Holding(ctx) // the answer counts as in memory until the event is published
	defer release()
	raw, err := session.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: d.ErpRequestId})
	if err != nil {
		return err
	}
	event, err := read(&d, raw)
	if err != nil {
		return &unprocessable{payload: raw, cause: err}
	}
	if !settings.InScope(event.RequestedAt.AsTime()) {
		return s.skip(ctx, m, &d)
	}
	event.Delayed = d.OccurredAt.IsValid() && m.Stored.Sub(d.OccurredAt.AsTime()) > delayedAfter
	err = s.Bus.PublishOnce(ctx, bus.For(bus.Event, event.Type, d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), event)
	if err != nil && fault.ClassOf(err) == fault.Permanent { // the event is larger than the broker accepts
		return &unprocessable{payload: raw, cause: err}
	}
	return err
}

// done reports whether the event of a delivery was already published, or the fetcher gave up on the delivery. Close-outs are kept
// longer than events and outcomes.
func (s *Service) done(ctx context.Context, m bus.Message) (bool, error) {
	company, request := m.Subject.Company, m.Subject.Request
	for _, next := range []bus.Subject{bus.Any(bus.Event, company, request), bus.For(bus.Outcome, "", company, request), bus.Any(bus.Closed, company, request)} {
		if done, err := s.Bus.Has(ctx, next.WithRun(m.Subject.Run)); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// skip publishes the outcome of a request that Procore created before the time in the company's setting "since". The request gets no event.
func (s *Service) skip(ctx context.Context, m bus.Message, d *tiebackv1.Delivery) error {
	s.Log.Info("did not process an ERP request: it was created before the time in the company's setting \"since\"", zap.Int64("company", d.CompanyId), zap.Int64("request", d.ErpRequestId))
	out := &tiebackv1.Outcome{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: catalogue.Unknown, RequestedAt: d.OccurredAt, SkipReason: bus.SkippedOlder}
	return s.Bus.PublishOnce(ctx, bus.For(bus.Outcome, "", d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), out)
}

// read returns the event of an ERP request, or a permanent error with a user message.
func read(d *tiebackv1.Delivery, raw []byte) (*tiebackv1.Event, error) {
	request, err := scan(raw)
	if err != nil {
		return nil, malformed(fmt.Errorf("parsing the ERP request: %w", err))
	}
	if request.id != "" && request.id != strconv.FormatInt(d.ErpRequestId, 10) {
		return nil, malformed(fmt.Errorf("requested ERP request %d, got %.40s", d.ErpRequestId, request.id))
	}
	if request.company != "" && request.company != strconv.FormatInt(d.CompanyId, 10) {
		return nil, malformed(fmt.Errorf("ERP request %d is of company %.40s, not %d", d.ErpRequestId, request.company, d.CompanyId))
	}
	row, ok := catalogue.Lookup(request.name)
	if !ok {
		return nil, &fault.Error{
			Class: fault.Permanent, Err: fmt.Errorf("unknown event type %q", fault.Name(request.name)),
			UserMessage: fmt.Sprintf("The ERP integration does not support the request %q, so nothing was done. Contact its administrator.", fault.Name(request.name)),
		}
	}
	return &tiebackv1.Event{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: row.Name, RequestedAt: requestedAt(d, request.created), ReceivedAt: d.ReceivedAt, Payload: raw}, nil
}

// header has the fields of an ERP request that the fetcher reads; "": missing or null.
type header struct {
	id, company, name, created string
}

// scan reads the header of an ERP request. It passes over the values of all other fields.
func scan(raw []byte) (h header, err error) {
	dec := procore.NewDecoder(raw)
	if dec.PeekKind() != jsontext.KindBeginObject {
		return h, cmp.Or(dec.SkipValue(), errors.New("it is not a JSON object"))
	}
	if _, err := dec.ReadToken(); err != nil {
		return h, err
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := dec.ReadValue()
		if err != nil {
			return h, err
		}
		var field *string
		switch {
		case procore.Unquoted(name, "id"):
			field = &h.id
		case procore.Unquoted(name, "company_id"):
			field = &h.company
		case procore.Unquoted(name, "request_name"):
			field = &h.name
		case procore.Unquoted(name, "created_at"):
			field = &h.created
		}
		v, err := dec.ReadValue()
		switch {
		case err != nil:
			return h, err
		case field == nil:
		case v.Kind() == jsontext.KindNull:
			*field = ""
		case v.Kind() == jsontext.KindString || field != &h.name && v.Kind() == jsontext.KindNumber:
			*field = procore.Unquote(v)
		case field != &h.created:
			return h, fmt.Errorf("%s is %.40s", dec.StackPointer(), v)
		}
	}
	return h, nil
}

// requestedAt returns the time at which Procore created the request. The requests of a record are ordered by it, so it must be the
// same for each run.
//
//	a delivery of a webhook or of Procore's log          its time, in microseconds
//	an open request detail, or a delivery without time   created_at of the request, in seconds
//	a request without created_at                         the detail's created_at, or the time the delivery was received
func requestedAt(d *tiebackv1.Delivery, created string) *timestamppb.Timestamp {
	if d.EventId != "" && d.OccurredAt != nil {
		return d.OccurredAt
	}
	if t, err := time.Parse(time.RFC3339, created); err == nil {
		return timestamppb.New(t)
	}
	return cmp.Or(d.OccurredAt, d.ReceivedAt)
}

// malformed returns a permanent error for a response of Procore that can't be parsed.
func malformed(err error) error {
	return &fault.Error{
		Class: fault.Permanent, Err: err,
		UserMessage: "The ERP integration could not read the data that Procore sent for this request, so nothing was done. Contact the administrator of your ERP integration.",
	}
}

// giveUp writes a dead letter for the delivery and publishes an outcome. If the payload was fetched, the outcome closes its request
// details as failed.
func (s *Service) giveUp(ctx context.Context, m bus.Message, cause error) error {
	if err := s.Bus.DeadLetter(ctx, stage, m, cause); err != nil {
		return err
	}
	var d tiebackv1.Delivery
	if bus.Decode(m, &d) != nil {
		return nil // not a delivery: it has no request details
	}
	out := &tiebackv1.Outcome{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: catalogue.Unknown, RequestedAt: d.OccurredAt, DeadLettered: true, ProcoreCalls: 1}
	var u *unprocessable
	if errors.As(cause, &u) {
		out.CloseOuts = payload.Failed(u.payload, u.cause)
	}
	return s.Bus.PublishOnce(ctx, bus.For(bus.Outcome, "", d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), out)
}
