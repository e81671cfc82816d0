package closeout

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// unlinks calls status management once for each record; there is no bulk form. Procore does not document the route; its
// path is a guess. If Procore does not have it, the record is marked as not synced in the next step, as the events
// dictionary documents. After a 405, or a 404 for a record that Procore has, the route is not called again in this
// process.
func unlinks(ctx context.Context, s *procore.Session, units []*unit) {
	without := map[string]bool{} // routes that answered 404 in this batch; Procore counts repeated 404s against the app
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
				u.Marks = nil // the record stays linked, so its lines must too
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
