package payload

import (
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// genericFailure is the message of a failure that has no message for the accountant.
const genericFailure = "Tieback could not process this request. Nothing was marked as synced. Try again. If it fails again, contact the administrator of your ERP integration."

// parseID treats the string "null" as no id, as Text does.
func parseID(v any) (int64, error) {
	if v == "null" {
		return 0, nil
	}
	return procore.ParseID(v)
}

// Failed returns failed close-outs of all request details of a payload, with the message of err.
func Failed(raw []byte, err error) []*tiebackv1.CloseOut {
	var out []*tiebackv1.CloseOut
	for _, id := range procore.RequestDetails(raw) {
		out = append(out, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{fault.UserMessage(err, genericFailure)},
		})
	}
	return out
}
