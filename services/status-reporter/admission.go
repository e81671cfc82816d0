package statusreporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// admit checks the contents of an outcome. The broker checks only which services may publish on its subject, and an
// attacker may control one of them. The outcome may have, on a subject
//
//	of unknown type ("_")   failures; success only for a request that the sweep closes, see reportedWhole
//	of an event type        marks, unlinks and links of its catalogue row; success only for request details of its event
//
// The error is permanent if the outcome is refused. Any other error means that the streams could not be read.
func (s *Service) admit(ctx context.Context, m bus.Message, o *tiebackv1.Outcome) error {
	subject := m.Subject
	if err := allowed(subject, o); err != nil {
		return refused(err)
	}
	var done []int64
	for _, c := range o.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_SUCCESS && c.RequestDetailId != 0 {
			done = append(done, c.RequestDetailId)
		}
	}
	switch {
	case len(done) == 0:
		return nil
	case subject.Type == catalogue.Unknown:
		return s.reportedWhole(ctx, m)
	}
	return s.owns(ctx, m, done)
}

func refused(err error) error {
	return fault.New(fault.Permanent, fmt.Errorf("outcome refused: %w", err))
}

// allowed checks an outcome against the row of its subject's type.
func allowed(subject bus.Subject, o *tiebackv1.Outcome) error {
	if bus.For(subject.Kind, o.Type, o.CompanyId, o.ErpRequestId).WithRun(subject.Run) != subject {
		return fmt.Errorf("its type %.40q, company %d and request %d differ from its subject", o.Type, o.CompanyId, o.ErpRequestId)
	}
	if o.SkipReason != "" {
		return allowedToSkip(subject, o)
	}
	row, known := catalogue.Lookup(subject.Type)
	for _, c := range o.CloseOuts {
		switch c.Status {
		case tiebackv1.Status_STATUS_FAILED:
		case tiebackv1.Status_STATUS_SUCCESS:
			if !known && (subject.Run != bus.Swept || len(o.CloseOuts) != 1 || c.RequestDetailId == 0) {
				return errors.New("it reports success of an event of unknown type")
			}
		default:
			return fmt.Errorf("a close-out has status %s, which is not final", c.Status)
		}
		if c.KeptStatus != "" {
			return errors.New("it has a kept status, which only the status-reporter can know")
		}
		if err := allowedOf(row, c); err != nil {
			return err
		}
	}
	return nil
}

// allowedToSkip checks the outcome of a request that was not processed. Its close-outs may have the current status of request
// details, and nothing else.
func allowedToSkip(subject bus.Subject, o *tiebackv1.Outcome) error {
	if o.SkipReason != bus.SkippedOlder && (subject.Type == catalogue.Unknown || !procore.DetailCalledOff(o.SkipReason)) {
		return fmt.Errorf("its skip reason %.40q is not allowed", o.SkipReason)
	}
	for _, c := range o.CloseOuts {
		status := &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus}
		if !procore.DetailCalledOff(c.KeptStatus) || !proto.Equal(c, status) {
			return errors.New("its request was not processed, but a close-out has more than a current status")
		}
	}
	return nil
}

// allowedOf checks a close-out against a row; the zero row allows nothing but a final status.
func allowedOf(row catalogue.EventType, c *tiebackv1.CloseOut) error {
	may := row.Allowed
	no := func(what, itemType string) error {
		return fmt.Errorf("it %s a %.40q, which the event type %q does not allow", what, itemType, row.Name)
	}
	// A mark of one of the row's own types needs no origin id: an ERP may have none for a line. Any other mark may only
	// remove one, from a record of a type in may.Unmark.
	for _, m := range c.Marks {
		if !slices.Contains(row.ItemTypes(), m.ItemType) && (m.OriginId != "" || !slices.Contains(may.Unmark, m.ItemType)) {
			return no("marks", m.ItemType)
		}
	}
	for _, u := range c.Unlinks {
		if !slices.Contains(may.Unlink, u.ItemType) {
			return no("unlinks", u.ItemType)
		}
	}
	for _, l := range c.Links {
		if l.OriginId != "" && !slices.Contains(may.Link, l.ItemType) {
			return no("links", l.ItemType)
		}
		if l.OriginId == "" && !slices.Contains(may.Forget, l.ItemType) {
			return no("ends the link of", l.ItemType)
		}
	}
	switch {
	case len(c.Assignments) > 0 && !may.Assignments:
		return no("marks", "cost type assignment")
	case len(c.BudgetTransactions) > 0 && !may.Transactions:
		return no("marks", "budget transaction")
	}
	return nil
}

// reportedWhole checks a success that the sweep reports. It requires that tb.closed has close-outs of the request, all of
// them successes without a request detail. Of the request's further runs, it reads only the newest report.
func (s *Service) reportedWhole(ctx context.Context, outcome bus.Message) error {
	reported, subject := 0, outcome.Subject
	for _, run := range []string{"", "*"} {
		m, has, err := s.memory.Last(ctx, bus.Any(bus.Closed, subject.Company, subject.Request).WithRun(run))
		if err != nil {
			return err
		}
		if !has {
			continue
		}
		o := &tiebackv1.Outcome{}
		if err := bus.Decode(m, o); err != nil {
			return err
		}
		for _, c := range o.CloseOuts {
			if reported++; c.RequestDetailId != 0 || c.Status != tiebackv1.Status_STATUS_SUCCESS {
				return refused(errors.New("it reports success of a request that was not completely reported as success"))
			}
		}
	}
	if reported == 0 {
		return missing(outcome, errors.New("it reports success of a request without a report"))
	}
	return nil
}

// catchUp is how long the message that justifies an outcome may be missing before the outcome is refused. Any replica of
// the stream answers a read, and a replica that was cut off or restarted lags behind for some seconds.
const catchUp = time.Minute

// missing refuses an outcome because the message that justifies it was not found. While the outcome is younger than
// catchUp, the error is transient: the replica that answered may lag behind.
func missing(outcome bus.Message, err error) error {
	if time.Since(outcome.Stored) < catchUp {
		return fault.New(fault.Transient, fmt.Errorf("outcome not admitted yet, as a replica of the stream may lag behind: %w", err))
	}
	return refused(err)
}

// owns checks that the payload of an event of the subject's type and request names the request details.
func (s *Service) owns(ctx context.Context, outcome bus.Message, details []int64) error {
	subject, found := outcome.Subject, false                       // found: the event of the outcome's own run
	for i, run := range []string{subject.OfEvent().Run, "", "*"} { // the replay of an outcome has a run without an event
		e, err := s.event(ctx, subject.OfEvent().WithRun(run))
		if err != nil {
			return err
		}
		if named := procore.RequestDetails(e.GetPayload()); !slices.ContainsFunc(details, func(id int64) bool { return !slices.Contains(named, id) }) {
			return nil
		}
		found = found || i == 0 && e != nil
	}
	if !found {
		e, has, err := s.memory.Last(ctx, bus.Any(bus.Event, subject.Company, subject.Request))
		if err != nil {
			return err
		}
		if has && e.Subject.Type != subject.Type {
			// The request has an event of another type, so a lagging replica is not the cause.
			return refused(fmt.Errorf("it reports success of request details %v, but request %d has no event %s", details, subject.Request, subject.Type))
		}
		return missing(outcome, fmt.Errorf("it reports success of request details %v, but the event %s of request %d does not exist or has expired", details, subject.Type, subject.Request))
	}
	return refused(fmt.Errorf("it reports success of request details %v, but the event %s of request %d does not name all of them", details, subject.Type, subject.Request))
}

// event returns the event of a subject's type, company, request and run, or nil.
func (s *Service) event(ctx context.Context, subject bus.Subject) (*tiebackv1.Event, error) {
	m, has, err := s.memory.Last(ctx, subject)
	if !has || err != nil {
		return nil, err
	}
	e := &tiebackv1.Event{}
	if bus.Decode(m, e) != nil {
		return nil, nil
	}
	return e, nil
}

// replacement returns the outcome to report in place of a refused one: the request details of its event as failed. It
// returns nil if there is no such event. Then the deadline, the worker or the sweep closes the request details.
func (s *Service) replacement(ctx context.Context, subject bus.Subject) (*tiebackv1.Outcome, error) {
	e, err := s.event(ctx, subject.OfEvent())
	if e == nil || err != nil {
		return nil, err
	}
	return &tiebackv1.Outcome{
		CompanyId: e.CompanyId, ErpRequestId: e.ErpRequestId, Type: subject.Type, RequestedAt: e.RequestedAt, DeadLettered: true,
		CloseOuts: payload.Failed(e.Payload, fault.Permanentf("%s", notReported)),
	}, nil
}

// notReported is the accountant's message for an outcome that became a dead letter.
const notReported = "The ERP system may have done this, but not all of it could be reported to Procore. Contact the administrator of your ERP integration before you try again."
