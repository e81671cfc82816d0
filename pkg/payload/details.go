package payload

import (
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// genericFailure is the message of a failure that has no message for the accountant.
const genericFailure = "Tieback could not process this request. Nothing was marked as synced. Try again. If it fails again, contact the administrator of your ERP integration."

// toID reads an id. It returns 0 if there is none or it is invalid. See procore.ParseID.
func toID(v any) int64 {
	id, _ := parseID(v)
	return id
}

// parseID treats the string "null" as no id, as Text does.
func parseID(v any) (int64, error) {
	if v == "null" {
		return 0, nil
	}
	return procore.ParseID(v)
}

// invalidDetail returns an invalid request detail id in v, or nil if there is none.
func invalidDetail(v any) any {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if bad := invalidDetail(x); bad != nil {
				return bad
			}
		}
	case map[string]any:
		for name, x := range v {
			if _, err := parseID(x); name == "request_detail_id" && err != nil {
				return x
			}
			if bad := invalidDetail(x); bad != nil {
				return bad
			}
		}
	}
	return nil
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
