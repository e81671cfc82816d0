// Package fetcher turns a delivery, which carries only an id, into an event with its
// payload: it gets the ERP request from Procore and publishes it under its event type.
package fetcher

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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

// lateAfter is how long a delivery may be on its way, and by how much Procore's clock and the broker's may differ.
const lateAfter = 2 * time.Minute

// Deps are what the fetcher needs from its process.
type Deps struct {
	Bus         *bus.Bus
	Companies   company.Set
	Procore     *procore.Client
	Log         *zap.Logger
	Metrics     *telemetry.Stages
	Concurrency int           // fetches at once; 0: 256
	Backoff     time.Duration // before the second attempt; 0: 1 s
}

// Run is the service: New and Service.Run with what the process has.
func Run(ctx context.Context, a *tenant.App) error {
	return New(Deps{Bus: a.Bus, Companies: a.Companies, Procore: a.Procore, Log: a.Log, Metrics: a.Metrics, Backoff: a.Backoff}).Run(ctx)
}

// Service is the fetcher.
type Service struct{ Deps }

// New makes the service.
func New(d Deps) *Service { return &Service{d} }

// Run fetches until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return s.Bus.Consume(ctx, bus.Consumer{
		Kind: bus.Delivery, Name: stage, Concurrency: s.Concurrency, Backoff: s.Backoff, RetryFor: bus.Day,
		Handle: s.handle, Done: s.done, GiveUp: s.giveUp, Observe: s.Metrics.Observer(stage, s.Log),
	})
}

// unworkable is an ERP request that was fetched and can't be worked. It keeps the payload,
// whose request details must be closed.
type unworkable struct {
	payload []byte
	cause   error
}

func (u *unworkable) Error() string { return u.cause.Error() }
func (u *unworkable) Unwrap() error { return u.cause }

func (s *Service) handle(ctx context.Context, m bus.Message) error {
	var d tiebackv1.Delivery
	if err := bus.Decode(m, &d); err != nil {
		return err
	}
	session, err := s.Procore.Company(d.CompanyId)
	if err != nil {
		return err
	}
	ours := s.Companies[d.CompanyId]
	if d.OccurredAt.IsValid() && !ours.InScope(d.OccurredAt.AsTime()) { // without a call
		return s.leave(ctx, m, &d)
	}
	ctx, release := procore.Holding(ctx) // until the event is published
	defer release()
	raw, err := session.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: d.ErpRequestId})
	if err != nil {
		return err
	}
	event, err := read(&d, raw)
	if err != nil {
		return &unworkable{payload: raw, cause: err}
	}
	if !ours.InScope(event.RequestedAt.AsTime()) {
		return s.leave(ctx, m, &d)
	}
	event.Late = d.OccurredAt.IsValid() && m.Stored.Sub(d.OccurredAt.AsTime()) > lateAfter
	err = s.Bus.PublishOnce(ctx, bus.For(bus.Event, event.Type, d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), event)
	if err != nil && fault.ClassOf(err) == fault.Permanent { // larger than the broker takes
		return &unworkable{payload: raw, cause: err}
	}
	return err
}

// done says whether the event of a delivery is here already, or was given up.
func (s *Service) done(ctx context.Context, m bus.Message) (bool, error) {
	fetched, err := s.Bus.Has(ctx, bus.Any(bus.Event, m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run))
	if fetched || err != nil {
		return fetched, err
	}
	return s.Bus.Has(ctx, bus.For(bus.Outcome, "", m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run))
}

// leave ends a request that was created before its company's since: it becomes no event.
func (s *Service) leave(ctx context.Context, m bus.Message, d *tiebackv1.Delivery) error {
	s.Log.Info("an ERP request that is older than since is left alone", zap.Int64("company", d.CompanyId), zap.Int64("request", d.ErpRequestId))
	out := &tiebackv1.Outcome{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: catalogue.Unknown, RequestedAt: d.OccurredAt, Left: bus.LeftOlder}
	return s.Bus.PublishOnce(ctx, bus.For(bus.Outcome, "", d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), out)
}

// read makes an event of an ERP request, or a permanent error with a sentence.
func read(d *tiebackv1.Delivery, raw []byte) (*tiebackv1.Event, error) {
	var request struct {
		ID          json.Number `json:"id"`
		CompanyID   json.Number `json:"company_id"`
		RequestName string      `json:"request_name"`
		CreatedAt   any         `json:"created_at"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&request); err != nil {
		return nil, senseless(fmt.Errorf("ERP request does not parse: %w", err))
	}
	if id := request.ID.String(); id != "" && id != fmt.Sprint(d.ErpRequestId) {
		return nil, senseless(fmt.Errorf("asked for ERP request %d, got %.40s", d.ErpRequestId, id))
	}
	if id := request.CompanyID.String(); id != "" && id != fmt.Sprint(d.CompanyId) {
		return nil, senseless(fmt.Errorf("ERP request %d is of company %.40s, not %d", d.ErpRequestId, id, d.CompanyId))
	}
	row, ok := catalogue.Lookup(request.RequestName)
	if !ok {
		return nil, &fault.Error{
			Class: fault.Permanent, Err: fmt.Errorf("unknown event type %q", fault.Name(request.RequestName)),
			UserMessage: fmt.Sprintf("The ERP integration does not know the request %q, so nothing was done. Tell whoever runs it.", fault.Name(request.RequestName)),
		}
	}
	created, _ := request.CreatedAt.(string)
	return &tiebackv1.Event{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: row.Name, RequestedAt: requestedAt(d, created), Payload: raw}, nil
}

// requestedAt is when Procore created the request. It orders the company's requests, so that it is
// taken from what was stored with the delivery, or from what never changes.
//
//	a delivery, of a webhook or of Procore's log    its own time, to the microsecond
//	an open request detail, a delivery without one  created_at of the request, to the second
//	neither                                         of the detail, or when the delivery was stored
func requestedAt(d *tiebackv1.Delivery, created string) *timestamppb.Timestamp {
	if d.EventId != "" && d.OccurredAt != nil {
		return d.OccurredAt
	}
	if t, err := time.Parse(time.RFC3339, created); err == nil {
		return timestamppb.New(t)
	}
	return cmp.Or(d.OccurredAt, d.ReceivedAt)
}

func senseless(err error) error {
	return &fault.Error{
		Class: fault.Permanent, Err: err,
		UserMessage: "The data that Procore sent for this request could not be understood, so nothing was done. Tell whoever runs the ERP integration.",
	}
}

// giveUp buries the delivery and has the request details of the payload, if it came, closed as failed.
func (s *Service) giveUp(ctx context.Context, m bus.Message, cause error) error {
	if err := s.Bus.DeadLetter(ctx, stage, m, cause); err != nil {
		return err
	}
	var d tiebackv1.Delivery
	if bus.Decode(m, &d) != nil {
		return nil // not a delivery of ours: there is nobody to tell
	}
	out := &tiebackv1.Outcome{CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: catalogue.Unknown, RequestedAt: d.OccurredAt, DeadLettered: true, ProcoreCalls: 1}
	var u *unworkable
	if errors.As(cause, &u) {
		out.CloseOuts = payload.Failed(u.payload, u.cause)
	}
	return s.Bus.PublishOnce(ctx, bus.For(bus.Outcome, "", d.CompanyId, d.ErpRequestId).WithRun(m.Subject.Run), out)
}
