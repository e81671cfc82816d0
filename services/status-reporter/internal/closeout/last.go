package closeout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// unlinks asks status management, a call for each record: there is no bulk form. The route is inferred. Where Procore
// does not have it the record is marked as not synced with the other marks of the next step, as the events dictionary
// documents; after a 405, or a 404 for a record that Procore knows, the route is not tried again in this process.
func unlinks(ctx context.Context, s *procore.Session, units []*unit) {
	without := map[string]bool{} // routes that answered 404 in this flush: each more is held against the app
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, l := range u.Unlinks {
			route := unlinkRoute(l)
			if without[route.Name] || s.Missing(route) {
				u.unsync(l)
				continue
			}
			err := unlink(ctx, s, l, u.repeat)
			switch status := (*procore.StatusError)(nil); {
			case err == nil:
			case errors.As(err, &status) && status.Status == http.StatusMethodNotAllowed:
				s.MarkMissing(route)
				u.unsync(l)
			case errors.As(err, &status) && status.Status == http.StatusNotFound:
				without[route.Name] = true
				u.asked = append(u.asked, asked{u.unsync(l), route})
			case fault.ClassOf(err) != fault.Permanent:
				u.err = err
			case errors.As(err, &status) && notFound(status.Why): // Procore no longer has it
			default:
				u.Marks = nil // the lines stay as they are, like the record
				u.reject(recordName(u, l.ItemType), fault.UserMessage(err, err.Error()))
			}
		}
	}
}

// asked is a mark that stands in for an unlink which was answered 404.
type asked struct {
	mark  *tiebackv1.Mark
	route procore.Route
}

// unsync has the record marked as not synced in the next step.
func (u *unit) unsync(l *tiebackv1.Unlink) *tiebackv1.Mark {
	m := &tiebackv1.Mark{ItemType: l.ItemType, ItemId: l.ItemId}
	u.Marks = append(u.Marks, m)
	return m
}

// learnRoutes remembers routes that Procore lacks: they answered 404 for a record that Procore has, as the mark was taken.
func learnRoutes(s *procore.Session, units []*unit) {
	for _, u := range units {
		for _, a := range u.asked {
			if u.err == nil && slices.Contains(u.Marks, a.mark) && !slices.Contains(u.gone, a.mark) {
				s.MarkMissing(a.route)
			}
		}
	}
}

// unlink unlinks a record. Procore refuses to unlink what is not linked any more, which is
// what a repeat after a crash meets; so a repeat's refusal is checked by marking the record as
// not synced, which is harmless and leaves no doubt. The refusal of a first try is meant.
func unlink(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink, repeat bool) error {
	err := tryUnlink(ctx, s, l)
	if repeat {
		return confirm(ctx, s, l, err)
	}
	return err
}

func unlinkRoute(l *tiebackv1.Unlink) procore.Route {
	if l.ItemType == "invoice_payment" || l.ItemType == "contract_payment" {
		return unlinkPayment
	}
	return unlinkRecord
}

func tryUnlink(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink) error {
	call := procore.Call{Route: unlinkRoute(l), ID: l.ItemId}
	if call.Route.Name == unlinkRecord.Name {
		call.Body = map[string]any{"item_type": l.ItemType, "item_id": l.ItemId}
	}
	_, err := s.Do(ctx, call)
	return err
}

func confirm(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink, refusal error) error {
	var status *procore.StatusError
	if !errors.As(refusal, &status) || status.Status != http.StatusUnprocessableEntity {
		return refusal
	}
	result, err := s.Sync(ctx, procore.SyncCall{Route: syncExternalData, Updates: []map[string]any{
		{"item_type": l.ItemType, "item_id": l.ItemId, "origin_id": nil},
	}})
	if err != nil && fault.ClassOf(err) != fault.Permanent {
		return err
	}
	if err != nil || len(result.Refused) > 0 && !notFound(result.Refused[0].Why) {
		return refusal
	}
	return nil
}

var statusNames = map[tiebackv1.Status]string{
	tiebackv1.Status_STATUS_IN_PROGRESS: "in_progress",
	tiebackv1.Status_STATUS_SUCCESS:     "success",
	tiebackv1.Status_STATUS_FAILED:      "failed",
}

// detail is a request detail and the close-outs that speak for it: more than one where an
// outcome names it twice, or came twice.
type detail struct {
	id    int64
	units []*unit
}

// rank says which status speaks for a detail that has several close-outs: an end outweighs
// being in progress, and one failure outweighs any success.
var rank = map[tiebackv1.Status]int{
	tiebackv1.Status_STATUS_IN_PROGRESS: 1,
	tiebackv1.Status_STATUS_SUCCESS:     2,
	tiebackv1.Status_STATUS_FAILED:      3,
}

// update is what the detail's close-outs say together.
func (d *detail) update() map[string]any {
	status, texts := tiebackv1.Status_STATUS_UNSPECIFIED, []string{}
	for _, u := range d.units {
		if rank[u.Status] > rank[status] {
			status = u.Status
		}
	}
	for _, u := range d.units {
		for _, m := range u.Messages {
			if u.Status == status && !slices.Contains(texts, m) {
				texts = append(texts, m)
			}
		}
	}
	for _, u := range d.units { // what was told, in all their records
		u.Status, u.Messages = status, texts
	}
	return map[string]any{"id": d.id, "status": statusNames[status], "messages": texts}
}

func (d *detail) fail(err error) {
	for _, u := range d.units {
		u.err = err
	}
}

// requestDetails is the last step: the users' buttons come free.
func requestDetails(ctx context.Context, s *procore.Session, units []*unit) {
	byID := map[int64]*detail{}
	var details []*detail
	for _, u := range units {
		switch _, ok := statusNames[u.Status]; {
		case u.RequestDetailId == 0:
		case !ok:
			u.err = fault.New(fault.Permanent, fmt.Errorf("close-out of request detail %d has no status", u.RequestDetailId))
		default:
			d := byID[u.RequestDetailId]
			if d == nil {
				d = &detail{id: u.RequestDetailId}
				byID[d.id], details = d, append(details, d)
			}
			d.units = append(d.units, u)
		}
	}
	tell(ctx, s, details)
}

// tell updates details in bulk.
func tell(ctx context.Context, s *procore.Session, details []*detail) {
	if len(details) == 0 {
		return
	}
	call := procore.SyncCall{Route: syncRequestDetails}
	for _, d := range details {
		call.Updates = append(call.Updates, d.update())
	}
	result, err := s.Sync(ctx, call)
	if err == nil {
		refusedDetails(ctx, s, details, result.Refused)
		return
	}
	for _, d := range details {
		d.fail(err)
	}
}

func refusedDetails(ctx context.Context, s *procore.Session, details []*detail, refused []procore.ItemError) {
	for _, r := range refused {
		id := procore.ID(json.Number(fmt.Sprint(r.Item["id"])))
		i := slices.IndexFunc(details, func(d *detail) bool { return d.id == id })
		if i < 0 && len(details) > 1 { // nobody knows whose it is: again, in halves
			tell(ctx, s, details[:len(details)/2])
			tell(ctx, s, details[len(details)/2:])
			return
		}
		details[max(i, 0)].stands(ctx, s, r.Why)
	}
}

// stands looks at a request detail that Procore would not change. That is as it should be where
//
//	it says already what we wanted to say       a repeat met its own success
//	we wanted to say that it is in progress     it has ended meanwhile; where that was not by us, it is noted
//	we wanted to say failed                     it was called off, so that nothing is left to be told
//	it has ended, and this is a later run       Procore keeps the first end; ours is noted beside it
func (d *detail) stands(ctx context.Context, s *procore.Session, why string) {
	at, err := procore.DetailStatus(ctx, s.Do, d.id)
	if err != nil {
		d.fail(err)
		return
	}
	for _, u := range d.units {
		switch {
		case procore.DetailCalledOff(at) && u.Status != tiebackv1.Status_STATUS_SUCCESS:
			u.KeptStatus = at
		case at == statusNames[u.Status], u.Status == tiebackv1.Status_STATUS_IN_PROGRESS:
		case u.later && ends(at):
			u.KeptStatus = at
		default:
			u.err = fault.New(fault.Permanent, fmt.Errorf("request detail %d stands at %q in Procore and can't become %q: %s", d.id, at, statusNames[u.Status], why))
		}
	}
}

func ends(status string) bool { return status != "" && status != procore.DetailInProgress }
