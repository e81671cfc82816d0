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

// admit checks that an outcome says nothing that the services which may write to its subject may not report. Each
// of them may be in the hands of an attacker, and the broker checks subjects alone:
//
//	under "_"            failed; success only for what the sweep closes, see whole
//	of an event type     marks, unlinks and links of its catalogue row; success only for request details of its event
//
// The error is permanent where the outcome is refused, and is for the operator. Any other error means that
// the streams could not be read.
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
		return s.whole(ctx, m)
	}
	return s.owns(ctx, m, done)
}

func refused(err error) error {
	return fault.New(fault.Permanent, fmt.Errorf("outcome refused: %w", err))
}

// allowed checks an outcome against the row of its subject's type.
func allowed(subject bus.Subject, o *tiebackv1.Outcome) error {
	if bus.For(subject.Kind, o.Type, o.CompanyId, o.ErpRequestId).WithRun(subject.Run) != subject {
		return fmt.Errorf("it is of type %.40q, company %d, request %d; its subject says otherwise", o.Type, o.CompanyId, o.ErpRequestId)
	}
	if o.Left != "" {
		return allowedToLeave(subject, o)
	}
	row, known := catalogue.Lookup(subject.Type)
	for _, c := range o.CloseOuts {
		switch c.Status {
		case tiebackv1.Status_STATUS_FAILED:
		case tiebackv1.Status_STATUS_SUCCESS:
			if !known && (subject.Run != bus.Swept || len(o.CloseOuts) != 1 || c.RequestDetailId == 0) {
				return errors.New("it says success of an event whose type is not known")
			}
		default:
			return fmt.Errorf("a close-out says %s, which is no end", c.Status)
		}
		if c.KeptStatus != "" {
			return errors.New("it says what Procore has, which only the status-reporter can know")
		}
		if err := allowedOf(row, c); err != nil {
			return err
		}
	}
	return nil
}

// allowedToLeave checks the outcome of a request that is left alone, of which Procore is told nothing: it is older than
// its company's since, or its request details were called off. It may say where they stand, and have no effect.
func allowedToLeave(subject bus.Subject, o *tiebackv1.Outcome) error {
	if o.Left != bus.LeftOlder && (subject.Type == catalogue.Unknown || !procore.DetailCalledOff(o.Left)) {
		return fmt.Errorf("it leaves the request alone as %.40q, which is no reason", o.Left)
	}
	for _, c := range o.CloseOuts {
		stands := &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus}
		if !procore.DetailCalledOff(c.KeptStatus) || !proto.Equal(c, stands) {
			return errors.New("it leaves the request alone and says more of a request detail than where that stands")
		}
	}
	return nil
}

// allowedOf checks a close-out; the zero row allows nothing but an end.
func allowedOf(row catalogue.EventType, c *tiebackv1.CloseOut) error {
	may := row.Outcome
	no := func(what, itemType string) error {
		return fmt.Errorf("it %s a %.40q, which the event type %q never does", what, itemType, row.Name)
	}
	for _, m := range c.Marks { // an ERP may give a line no origin id
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

// whole checks a success that the sweep reports: that of the one request detail that stands for a whole request, all
// of which was told as done, without a request detail. What was told is read from the status-reporter's own notes.
func (s *Service) whole(ctx context.Context, outcome bus.Message) error {
	told, subject := 0, outcome.Subject
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
			if told++; c.RequestDetailId != 0 || c.Status != tiebackv1.Status_STATUS_SUCCESS {
				return refused(errors.New("it says success of a request that was not told as done in whole"))
			}
		}
	}
	if told == 0 {
		return missing(outcome, errors.New("it says success of a request of which nothing was reported"))
	}
	return nil
}

// catchUp is how long a message that justifies an outcome may be missing before the outcome is refused: reads are
// answered by any replica of the stream, and one that was cut off or restarted lags behind for some seconds.
const catchUp = time.Minute

// missing refuses an outcome because of a message that was not found. While the outcome is younger than catchUp, the
// error is transient: the replica that was asked may lag behind.
func missing(outcome bus.Message, err error) error {
	if time.Since(outcome.Stored) < catchUp {
		return fault.New(fault.Transient, fmt.Errorf("outcome not admitted yet, as a replica of the stream may lag behind: %w", err))
	}
	return refused(err)
}

// owns checks that request details are named by the payload of an event of the subject's type and request.
func (s *Service) owns(ctx context.Context, outcome bus.Message, details []int64) error {
	subject, found := outcome.Subject, false
	for _, run := range []string{subject.OfEvent().Run, "", "*"} { // the replay of an outcome has a run without an event
		e, err := s.event(ctx, subject.OfEvent().WithRun(run))
		if err != nil {
			return err
		}
		if named := procore.RequestDetails(e.GetPayload()); !slices.ContainsFunc(details, func(id int64) bool { return !slices.Contains(named, id) }) {
			return nil
		}
		found = found || e != nil
	}
	if !found {
		return missing(outcome, fmt.Errorf("it says success of request details %v, and there is no event %s of request %d, or it is kept no longer", details, subject.Type, subject.Request))
	}
	return refused(fmt.Errorf("it says success of request details %v, which the event %s of request %d does not all name", details, subject.Type, subject.Request))
}

// event reads the event of a subject's type, company, request and run; nil: there is none.
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

// instead is what Procore is told where an outcome is refused: that the request details of its event
// failed. nil: there is no such event, and nothing is told. The deadline, the worker or the sweep then closes
// them.
func (s *Service) instead(ctx context.Context, subject bus.Subject) (*tiebackv1.Outcome, error) {
	e, err := s.event(ctx, subject.OfEvent())
	if e == nil || err != nil {
		return nil, err
	}
	return &tiebackv1.Outcome{
		CompanyId: e.CompanyId, ErpRequestId: e.ErpRequestId, Type: subject.Type, RequestedAt: e.RequestedAt, DeadLettered: true,
		CloseOuts: payload.Failed(e.Payload, fault.Permanentf("%s", untold)),
	}, nil
}

// untold is what the accountant reads where an outcome became a dead letter.
const untold = "The ERP system may have done this, but Procore could not be told all of it. Tell whoever runs the ERP integration before you try again."
