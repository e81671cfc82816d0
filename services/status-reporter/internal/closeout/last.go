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

// unlinks calls status management once for each record; there is no bulk form. The route is inferred. If Procore does not
// have it, the record is marked as not synced in the next step, as the events dictionary documents. After a 405, or a 404
// for a record that Procore has, the route is not called again in this process.
func unlinks(ctx context.Context, s *procore.Session, units []*unit) {
	without := map[string]bool{} // routes that answered 404 in this flush; Procore counts repeated 404s against the app
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
			err := unlink(ctx, s, l, u.redelivered)
			switch status := (*procore.StatusError)(nil); {
			case err == nil:
			case errors.As(err, &status) && status.Status == http.StatusMethodNotAllowed:
				s.MarkMissing(route)
				u.unsync(l)
			case errors.As(err, &status) && status.Status == http.StatusNotFound:
				without[route.Name] = true
				u.substitutes = append(u.substitutes, substitute{u.unsync(l), route})
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

// substitute is a mark that replaces an unlink that was answered 404.
type substitute struct {
	mark  *tiebackv1.Mark
	route procore.Route
}

// unsync adds a mark of the record as not synced, for the next step.
func (u *unit) unsync(l *tiebackv1.Unlink) *tiebackv1.Mark {
	m := &tiebackv1.Mark{ItemType: l.ItemType, ItemId: l.ItemId}
	u.Marks = append(u.Marks, m)
	return m
}

// learnRoutes remembers the routes that Procore lacks: they answered 404, and Procore accepted the substitute mark, so it
// has the record.
func learnRoutes(s *procore.Session, units []*unit) {
	for _, u := range units {
		for _, a := range u.substitutes {
			if u.err == nil && slices.Contains(u.Marks, a.mark) && !slices.Contains(u.gone, a.mark) {
				s.MarkMissing(a.route)
			}
		}
	}
}

// unlink unlinks a record. Procore refuses to unlink a record that is not linked any more. After a crash the unlink may
// have been made before, so a refusal of a redelivered unlink is checked by marking the record as not synced, which is
// idempotent. A refusal of the first attempt is final.
func unlink(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink, redelivered bool) error {
	err := tryUnlink(ctx, s, l)
	if redelivered {
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

// detail is a request detail and its close-outs. It has several if an outcome names it twice, or was delivered twice.
type detail struct {
	id    int64
	units []*unit
}

// rank decides between the statuses of several close-outs: a final status outranks in progress, and a failure outranks any
// success.
var rank = map[tiebackv1.Status]int{
	tiebackv1.Status_STATUS_IN_PROGRESS: 1,
	tiebackv1.Status_STATUS_SUCCESS:     2,
	tiebackv1.Status_STATUS_FAILED:      3,
}

// update merges the detail's close-outs into one update.
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
	for _, u := range d.units { // record in each what is reported
		u.Status, u.Messages = status, texts
	}
	return map[string]any{"id": d.id, "status": statusNames[status], "messages": texts}
}

func (d *detail) fail(err error) {
	for _, u := range d.units {
		u.err = err
	}
}

// requestDetails is the last step. It frees the users' buttons.
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
	updateDetails(ctx, s, details)
}

// updateDetails updates request details in bulk.
func updateDetails(ctx context.Context, s *procore.Session, details []*detail) {
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
		if i < 0 && len(details) > 1 { // unknown which one: repeat in halves
			updateDetails(ctx, s, details[:len(details)/2])
			updateDetails(ctx, s, details[len(details)/2:])
			return
		}
		details[max(i, 0)].refused(ctx, s, r.Why)
	}
}

// refused handles a request detail that Procore refused to update, by its current status in Procore. It is no error if
//
//	it has the reported status                   an earlier delivery of the outcome reported it
//	in progress was reported                     it has a final status meanwhile; kept_status has it if it was called off
//	it was called off, and no success reported   nothing is left to report
//	it has a final status, and this run is later Procore keeps the first final status; kept_status has it
func (d *detail) refused(ctx context.Context, s *procore.Session, why string) {
	current, err := procore.DetailStatus(ctx, s.Do, d.id)
	if err != nil {
		d.fail(err)
		return
	}
	for _, u := range d.units {
		switch {
		case procore.DetailCalledOff(current) && u.Status != tiebackv1.Status_STATUS_SUCCESS:
			u.KeptStatus = current
		case current == statusNames[u.Status], u.Status == tiebackv1.Status_STATUS_IN_PROGRESS:
		case u.later && final(current):
			u.KeptStatus = current
		default:
			u.err = fault.New(fault.Permanent, fmt.Errorf("request detail %d is %q in Procore and can't become %q: %s", d.id, current, statusNames[u.Status], why))
		}
	}
}

// final reports whether a request detail's status is an end.
func final(status string) bool { return status != "" && status != procore.DetailInProgress }
