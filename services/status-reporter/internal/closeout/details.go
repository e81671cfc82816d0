package closeout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

var statusNames = map[tiebackv1.Status]string{
	tiebackv1.Status_STATUS_IN_PROGRESS: "in_progress",
	tiebackv1.Status_STATUS_SUCCESS:     "success",
	tiebackv1.Status_STATUS_FAILED:      "failed",
}

// detail is a request detail and its close-outs. There are several if an outcome names it twice, or was delivered twice.
type detail struct {
	id    int64
	units []*unit
}

// rank decides between the statuses of several close-outs. The highest one is reported: a final status rather than in progress,
// and failed rather than success.
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
	for _, u := range d.units { // each records what is reported
		u.Status, u.Messages = status, texts
	}
	return map[string]any{"id": d.id, "status": statusNames[status], "messages": texts}
}

// setErr sets the error of each close-out.
func (d *detail) setErr(err error) {
	for _, u := range d.units {
		u.err = err
	}
}

// requestDetails is the last step: it reports the status of the request details, which frees the users' buttons.
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
		handleRefusedDetails(ctx, s, details, result.Refused)
		return
	}
	for _, d := range details {
		d.setErr(err)
	}
}

// handleRefusedDetails calls detail.refused for the request details that Procore refused to update. If Procore's answer does not say
// which one was refused, the call is repeated in halves.
func handleRefusedDetails(ctx context.Context, s *procore.Session, details []*detail, refused []procore.ItemError) {
	for _, r := range refused {
		id := procore.ID(json.Number(fmt.Sprint(r.Item["id"])))
		i := slices.IndexFunc(details, func(d *detail) bool { return d.id == id })
		if i < 0 && len(details) > 1 {
			updateDetails(ctx, s, details[:len(details)/2])
			updateDetails(ctx, s, details[len(details)/2:])
			return
		}
		details[max(i, 0)].refused(ctx, s, r.Why)
	}
}

// refused handles a request detail that Procore refused to update. What it does depends on the status that the request detail has
// in Procore, and on the status to report. The first row that applies counts:
//
//	in Procore             to report                     what refused does
//	called off or unknown  not success                   sets kept_status to the status in Procore
//	any                    the same status               nothing, because an earlier delivery reported it
//	any                    in progress                   nothing, because the request detail is final by now
//	another final status   final, with Item.MayBeFinal   sets kept_status, because Procore keeps the first final status
//	otherwise                                            sets a permanent error
func (d *detail) refused(ctx context.Context, s *procore.Session, why string) {
	current, err := procore.DetailStatus(ctx, s.Do, d.id)
	if err != nil {
		d.setErr(err)
		return
	}
	for _, u := range d.units {
		switch {
		case procore.PreventsProcessing(current) && u.Status != tiebackv1.Status_STATUS_SUCCESS:
			u.KeptStatus = current
		case current == statusNames[u.Status], u.Status == tiebackv1.Status_STATUS_IN_PROGRESS:
		case u.mayBeFinal && final(current):
			u.KeptStatus = current
		default:
			u.err = fault.New(fault.Permanent, fmt.Errorf("request detail %d is %q in Procore and can't become %q: %s", d.id, current, statusNames[u.Status], why))
		}
	}
}

// final reports whether a status of a request detail is final.
func final(status string) bool { return status != "" && status != procore.DetailInProgress }
