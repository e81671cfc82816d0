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

// unlinks calls Procore's status management once for each record, because status management has no bulk form. Procore does not
// publish the route; its path is inferred. If Procore does not have the route, the record is marked as not synced in the next step, as the
// events dictionary documents. After a 405, or a 404 for a record that Procore has, this process does not call the route again.
func unlinks(ctx context.Context, s *procore.Session, units []*unit) {
	notFoundRoutes := map[string]bool{} // routes that answered 404 in this batch; Procore counts repeated 404s against the app
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, l := range u.Unlinks {
			route := unlinkRoute(l)
			if notFoundRoutes[route.Name] || s.Missing(route) {
				u.markNotSynced(l)
				continue
			}
			err := unlink(ctx, s, l, u.redelivered)
			switch status := (*procore.StatusError)(nil); {
			case err == nil:
			case errors.As(err, &status) && status.Status == http.StatusMethodNotAllowed:
				s.MarkMissing(route)
				u.markNotSynced(l)
			case errors.As(err, &status) && status.Status == http.StatusNotFound:
				notFoundRoutes[route.Name] = true
				u.substitutes = append(u.substitutes, substitute{u.markNotSynced(l), route})
			case fault.ClassOf(err) != fault.Permanent:
				u.err = err
			case errors.As(err, &status) && notFound(status.Why): // Procore no longer has it
			default:
				u.Marks = nil // the record stays linked, so its lines must too
				u.failUpdate(recordName(u, l.ItemType), fault.UserMessage(err, err.Error()))
			}
		}
	}
}

// substitute is a mark that replaces an unlink whose route answered 404.
type substitute struct {
	mark  *tiebackv1.Mark
	route procore.Route
}

// markNotSynced adds a mark that the record is not synced. The next step makes it.
func (u *unit) markNotSynced(l *tiebackv1.Unlink) *tiebackv1.Mark {
	m := &tiebackv1.Mark{ItemType: l.ItemType, ItemId: l.ItemId}
	u.Marks = append(u.Marks, m)
	return m
}

// learnRoutes remembers the routes that Procore lacks: the route answered 404, but Procore has the record, because it accepted the
// substitute.
func learnRoutes(s *procore.Session, units []*unit) {
	for _, u := range units {
		for _, a := range u.substitutes {
			if u.err == nil && slices.Contains(u.Marks, a.mark) && !slices.Contains(u.gone, a.mark) {
				s.MarkMissing(a.route)
			}
		}
	}
}

// unlink unlinks a record. Procore refuses to unlink a record that is not linked. If the outcome was redelivered, an earlier
// attempt may have unlinked the record; then unlink marks the record as not synced, which is idempotent, and returns nil if
// Procore accepts that.
func unlink(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink, redelivered bool) error {
	call := procore.Call{Route: unlinkRoute(l), ID: l.ItemId}
	if call.Route.Name == unlinkRecord.Name {
		call.Body = map[string]any{"item_type": l.ItemType, "item_id": l.ItemId}
	}
	_, err := s.Do(ctx, call)
	if status := (*procore.StatusError)(nil); redelivered && errors.As(err, &status) && status.Status == http.StatusUnprocessableEntity {
		return confirmUnlinked(ctx, s, l, err)
	}
	return err
}

func unlinkRoute(l *tiebackv1.Unlink) procore.Route {
	if l.ItemType == "invoice_payment" || l.ItemType == "contract_payment" {
		return unlinkPayment
	}
	return unlinkRecord
}

// confirmUnlinked marks a record as not synced after Procore refused to unlink it. It returns the refusal if Procore refuses
// the mark too.
func confirmUnlinked(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink, refusal error) error {
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
