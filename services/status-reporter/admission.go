package statusreporter

import (
	"context"
	"encoding/json"
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

// admit checks the contents of an outcome, because an attacker may control a service, and the broker checks only which services
// may publish on a subject. On a subject
//
//	of unknown type ("_")   an outcome may have failures; success only as checkSwept describes
//	of an event type        it may have the marks, unlinks and links of its catalogue row; success only for request details
//	                        that its event names, or that the request in Procore names if the request has no event
//
// The error is permanent if the outcome is refused. After any other error, admit should be called again.
func (s *Service) admit(ctx context.Context, m bus.Message, o *tiebackv1.Outcome) error {
	subject := m.Subject
	if err := checkContents(subject, o); err != nil {
		return refusal(err)
	}
	var succeeded []int64
	for _, c := range o.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_SUCCESS && c.RequestDetailId != 0 {
			succeeded = append(succeeded, c.RequestDetailId)
		}
	}
	switch {
	case len(succeeded) == 0:
		return nil
	case subject.Type == catalogue.Unknown:
		return s.checkSwept(ctx, m)
	}
	return s.checkDetails(ctx, m, succeeded)
}

// refusal returns the permanent error of an outcome that is refused because of err.
func refusal(err error) error {
	return fault.New(fault.Permanent, fmt.Errorf("outcome refused: %w", err))
}

// checkContents checks an outcome against its subject and the catalogue row of its type.
func checkContents(subject bus.Subject, o *tiebackv1.Outcome) error {
	if bus.For(subject.Kind, o.Type, o.CompanyId, o.ErpRequestId).WithRun(subject.Run) != subject {
		return fmt.Errorf("its type %.40q, company %d and request %d differ from its subject", o.Type, o.CompanyId, o.ErpRequestId)
	}
	if o.SkipReason != "" {
		return checkSkipped(subject, o)
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
		if err := checkCloseOut(row, c); err != nil {
			return err
		}
	}
	return nil
}

// checkSkipped checks the outcome of a request that was not processed. Its close-outs may have the current status of request
// details, and nothing else.
func checkSkipped(subject bus.Subject, o *tiebackv1.Outcome) error {
	if o.SkipReason != bus.SkippedOlder && (subject.Type == catalogue.Unknown || !procore.PreventsProcessing(o.SkipReason)) {
		return fmt.Errorf("its skip reason %.40q is not allowed", o.SkipReason)
	}
	for _, c := range o.CloseOuts {
		status := &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, KeptStatus: c.KeptStatus}
		if !procore.PreventsProcessing(c.KeptStatus) || !proto.Equal(c, status) {
			return errors.New("its request was not processed, but a close-out has more than a current status")
		}
	}
	return nil
}

// checkCloseOut checks a close-out against a catalogue row. The zero row allows only a request detail, a status and messages.
func checkCloseOut(row catalogue.EventType, c *tiebackv1.CloseOut) error {
	may := row.Allowed
	denied := func(what, itemType string) error {
		return fmt.Errorf("it %s a %.40q, which the event type %q does not allow", what, itemType, row.Name)
	}
	// A mark of one of the row's item types may lack an origin id, because an ERP may have none for a line. A mark of any other
	// item type must lack it, because it may only remove a mark, and the item type must be in may.Unmark.
	for _, m := range c.Marks {
		if !slices.Contains(row.ItemTypes(), m.ItemType) && (m.OriginId != "" || !slices.Contains(may.Unmark, m.ItemType)) {
			return denied("marks", m.ItemType)
		}
	}
	for _, u := range c.Unlinks {
		if !slices.Contains(may.Unlink, u.ItemType) {
			return denied("unlinks", u.ItemType)
		}
	}
	for _, l := range c.Links {
		if l.OriginId != "" && !slices.Contains(may.Link, l.ItemType) {
			return denied("links", l.ItemType)
		}
		if l.OriginId == "" && !slices.Contains(may.Forget, l.ItemType) {
			return denied("removes the link of", l.ItemType)
		}
	}
	switch {
	case len(c.Assignments) > 0 && !may.Assignments:
		return denied("marks", "cost type assignment")
	case len(c.BudgetTransactions) > 0 && !may.Transactions:
		return denied("marks", "budget transaction")
	}
	return nil
}

// checkSwept checks an outcome of the sweep with a success. The reports of the request in tb.closed must have close-outs, all of
// them successes without a request detail. It checks the report of the first run and the newest report of the other runs.
func (s *Service) checkSwept(ctx context.Context, outcome bus.Message) error {
	reported, subject := 0, outcome.Subject
	for _, run := range []string{"", "*"} {
		m, has, err := s.store.Last(ctx, bus.Any(bus.Closed, subject.Company, subject.Request).WithRun(run))
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
				return refusal(errors.New("it reports success, but an earlier report of the request names a request detail or is not a success"))
			}
		}
	}
	if reported == 0 {
		return missing(outcome, errors.New("it reports success, but the request has no report"))
	}
	return nil
}

// While an outcome is younger than maxReplicaLag, a message that it needs may be missing only because a replica lags. Any replica
// of the stream may answer a read, and a replica that was disconnected or restarted lags behind for some seconds.
const maxReplicaLag = time.Minute

// missing returns the error of an outcome whose event or report was not found. It is transient while the outcome is younger than
// maxReplicaLag, and a refusal after that.
func missing(outcome bus.Message, err error) error {
	if time.Since(outcome.Stored) < maxReplicaLag {
		return fault.New(fault.Transient, fmt.Errorf("outcome not admitted yet, as a replica of the stream may lag behind: %w", err))
	}
	return refusal(err)
}

// checkDetails checks that one of the events of the outcome's request and type names all of the request details.
func (s *Service) checkDetails(ctx context.Context, outcome bus.Message, details []int64) error {
	subject, found := outcome.Subject, false                       // found: the event of the outcome's own run was found
	for i, run := range []string{subject.OfEvent().Run, "", "*"} { // a replayed outcome has a run without an event: look in the others
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
		e, has, err := s.store.Last(ctx, bus.Any(bus.Event, subject.Company, subject.Request))
		if err != nil {
			return err
		}
		if has && e.Subject.Type != subject.Type {
			// The request has an event, of another type, so the replica that answered does not lag behind.
			return refusal(fmt.Errorf("it reports success of request details %v, but request %d has no event %s", details, subject.Request, subject.Type))
		}
		err = missing(outcome, fmt.Errorf("it reports success of request details %v, but the event %s of request %d does not exist or has been removed", details, subject.Type, subject.Request))
		if has || fault.ClassOf(err) != fault.Permanent {
			return err
		}
		return s.checkProcore(ctx, outcome, details, err)
	}
	return refusal(fmt.Errorf("it reports success of request details %v, but the event %s of request %d does not name all of them", details, subject.Type, subject.Request))
}

// checkProcore checks an outcome whose request has no event: it was replayed after its event had been removed, or it was restored
// from a backup that copied the events before its event was published. The request in Procore must have the outcome's type, and
// name all of the request details. refused is the error if it does not.
func (s *Service) checkProcore(ctx context.Context, outcome bus.Message, details []int64, refused error) error {
	session, err := s.Procore.Company(outcome.Subject.Company)
	if err != nil {
		return err
	}
	raw, err := session.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: outcome.Subject.Request})
	if err != nil {
		return err
	}
	var request struct {
		Name string `json:"request_name"`
	}
	if json.Unmarshal(raw, &request) != nil {
		return refused
	}
	row, _ := catalogue.Lookup(request.Name)
	named := procore.RequestDetails(raw)
	if row.Name != outcome.Subject.Type || slices.ContainsFunc(details, func(id int64) bool { return !slices.Contains(named, id) }) {
		return refused
	}
	return nil
}

// event returns the event of a subject. It returns nil if the stream has no such event, or if the event is malformed.
func (s *Service) event(ctx context.Context, subject bus.Subject) (*tiebackv1.Event, error) {
	m, has, err := s.store.Last(ctx, subject)
	if !has || err != nil {
		return nil, err
	}
	e := &tiebackv1.Event{}
	if bus.Decode(m, e) != nil {
		return nil, nil
	}
	return e, nil
}

// replacement returns the outcome to report in place of a refused one: the request details of its event, all failed. It returns
// nil if there is no such event; then the worker, the deadline or the sweep closes the request details.
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
