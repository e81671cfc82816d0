package closeout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// unlinks asks status management, a call for each record: there is no bulk form.
func unlinks(ctx context.Context, s *procore.Session, units []*unit) {
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, l := range u.Unlinks {
			err := unlink(ctx, s, l)
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
// what a repeat after a crash meets; so a refusal is checked by marking the record as not
// synced, which is harmless to repeat and leaves no doubt.
func unlink(ctx context.Context, s *procore.Session, l *tiebackv1.Unlink) error {
	if l.ItemType == "invoice_payment" {
		_, err := s.Do(ctx, procore.Call{Route: unlinkPayment, ID: l.ItemId})
		return confirm(ctx, s, l, err)
	}
	_, err := s.Do(ctx, procore.Call{Route: unlinkRecord, Body: map[string]any{"item_type": l.ItemType, "item_id": l.ItemId}})
	return confirm(ctx, s, l, err)
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

// requestDetails is the last step: the user's button comes free.
func requestDetails(ctx context.Context, s *procore.Session, units []*unit) {
	byID := map[int64]*unit{}
	call := procore.SyncCall{Route: syncRequestDetails}
	for _, u := range units {
		name, ok := statusNames[u.Status]
		if u.RequestDetailId == 0 {
			continue
		}
		if !ok {
			u.err = fault.New(fault.Permanent, fmt.Errorf("close-out of request detail %d has no status", u.RequestDetailId))
			continue
		}
		if first := byID[u.RequestDetailId]; first != nil {
			merge(first, u)
			continue
		}
		byID[u.RequestDetailId] = u
		call.Updates = append(call.Updates, map[string]any{"id": u.RequestDetailId, "status": name, "messages": messages(u)})
	}
	tell(ctx, s, call, byID)
}

// merge lets a request detail that two close-outs share say failed if one of them did.
func merge(first, second *unit) {
	if second.Status == tiebackv1.Status_STATUS_FAILED {
		first.refuse(strings.Join(second.Messages, " "))
	}
}

func messages(u *unit) []string {
	if u.Messages == nil {
		return []string{}
	}
	return u.Messages
}

func tell(ctx context.Context, s *procore.Session, call procore.SyncCall, byID map[int64]*unit) {
	if len(call.Updates) == 0 {
		return
	}
	for _, up := range call.Updates { // what a merge changed
		u := byID[up["id"].(int64)]
		up["status"], up["messages"] = statusNames[u.Status], messages(u)
	}
	result, err := s.Sync(ctx, call)
	if err != nil && fault.ClassOf(err) == fault.Permanent && len(byID) > 1 {
		for _, up := range call.Updates {
			alone := call
			alone.Updates = []map[string]any{up}
			tell(ctx, s, alone, map[int64]*unit{up["id"].(int64): byID[up["id"].(int64)]})
		}
		return
	}
	if err != nil {
		for _, u := range byID {
			u.err = err
		}
		return
	}
	for _, r := range result.Refused {
		id, _ := json.Number(fmt.Sprint(r.Item["id"])).Int64()
		if u := byID[id]; u != nil {
			u.err = standing(ctx, s, u, r.Why)
			continue
		}
		for _, u := range byID {
			u.err = fault.New(fault.Transient, fmt.Errorf("%s: Procore refused an item that can't be told from the others: %s", call.Route.Name, r.Why))
		}
	}
}

// standing looks at a request detail that Procore would not change: if it says already what
// we wanted to say, a repeat met its own success.
func standing(ctx context.Context, s *procore.Session, u *unit, why string) error {
	raw, err := s.Do(ctx, procore.Call{Route: getRequestDetail, ID: u.RequestDetailId})
	if err != nil {
		return err
	}
	var detail struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &detail); err != nil {
		return fault.New(fault.Transient, fmt.Errorf("request detail %d does not parse: %w", u.RequestDetailId, err))
	}
	if detail.Status == statusNames[u.Status] {
		return nil
	}
	return fault.New(fault.Permanent, fmt.Errorf("request detail %d stands at %q in Procore and can't become %q: %s", u.RequestDetailId, detail.Status, statusNames[u.Status], why))
}
