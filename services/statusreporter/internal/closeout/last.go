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

// unlinks asks status management, a call for each record: there is no bulk form.
func unlinks(ctx context.Context, s patient, units []*unit) {
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, l := range u.Unlinks {
			err := unlink(ctx, s, l, u.repeat)
			if err == nil {
				continue
			}
			if fault.ClassOf(err) != fault.Permanent {
				u.err = err
				break
			}
			u.reject(recordName(u, l.ItemType), fault.Sentence(err, err.Error()))
		}
	}
}

// unlink unlinks a record. Procore refuses to unlink what is not linked any more, which is
// what a repeat after a crash meets; so a repeat's refusal is checked by marking the record as
// not synced, which is harmless and leaves no doubt. The refusal of a first try is meant.
func unlink(ctx context.Context, s patient, l *tiebackv1.Unlink, repeat bool) error {
	err := tryUnlink(ctx, s, l)
	if repeat {
		return confirm(ctx, s, l, err)
	}
	return err
}

func tryUnlink(ctx context.Context, s patient, l *tiebackv1.Unlink) error {
	if l.ItemType == "invoice_payment" {
		_, err := s.Do(ctx, procore.Call{Route: unlinkPayment, ID: l.ItemId})
		return err
	}
	_, err := s.Do(ctx, procore.Call{Route: unlinkRecord, Body: map[string]any{"item_type": l.ItemType, "item_id": l.ItemId}})
	return err
}

func confirm(ctx context.Context, s patient, l *tiebackv1.Unlink, refusal error) error {
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
	if err != nil || len(result.Refused) > 0 {
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
func requestDetails(ctx context.Context, s patient, units []*unit) {
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
func tell(ctx context.Context, s patient, details []*detail) {
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

func refusedDetails(ctx context.Context, s patient, details []*detail, refused []procore.ItemError) {
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
//	we wanted to say that it is in progress     it has ended meanwhile
//	it has ended, and this is a later run       Procore keeps the first end; ours is noted beside it
func (d *detail) stands(ctx context.Context, s patient, why string) {
	at, err := standing(ctx, s, d.id)
	if err != nil {
		d.fail(err)
		return
	}
	for _, u := range d.units {
		switch {
		case at == statusNames[u.Status], u.Status == tiebackv1.Status_STATUS_IN_PROGRESS:
		case u.later && ends(at):
			u.Stands = at
		default:
			u.err = fault.New(fault.Permanent, fmt.Errorf("request detail %d stands at %q in Procore and can't become %q: %s", d.id, at, statusNames[u.Status], why))
		}
	}
}

func ends(status string) bool { return status == "success" || status == "failed" }

// standing is a request detail's status in Procore.
func standing(ctx context.Context, s patient, id int64) (string, error) {
	raw, err := s.Do(ctx, procore.Call{Route: getRequestDetail, ID: id})
	if err != nil {
		return "", err
	}
	var detail struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &detail); err != nil {
		return "", fault.From(fault.FromProcore, fault.New(fault.Transient, fmt.Errorf("request detail %d does not parse: %w", id, err)))
	}
	return detail.Status, nil
}
