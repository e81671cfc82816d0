package payload

import (
	"slices"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// sorry is what an accountant is told of a failure that has no words of its own.
const sorry = "Tieback could not carry this out. Nothing was marked as synced. Please try again; if it fails again, tell whoever runs your ERP integration."

// Details finds the id of every request detail in a payload, wherever it sits: the samples
// do not show all places. What does not parse has none.
func Details(raw []byte) []int64 {
	var v any
	if decode(raw, &v) != nil {
		return nil
	}
	var ids []int64
	collect(v, &ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func collect(v any, ids *[]int64) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			collect(x, ids)
		}
	case map[string]any:
		for name, x := range v {
			if id := toID(x); name == "request_detail_id" && id > 0 {
				*ids = append(*ids, id)
			}
			collect(x, ids)
		}
	}
}

// toID reads an id; 0 where there is none, or what is there is none. See procore.ParseID.
func toID(v any) int64 {
	id, _ := parseID(v)
	return id
}

// parseID takes the string "null" for none, as Text does.
func parseID(v any) (int64, error) {
	if v == "null" {
		return 0, nil
	}
	return procore.ParseID(v)
}

// badDetail finds a request detail whose id is none; nil: there is no such.
func badDetail(v any) any {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if bad := badDetail(x); bad != nil {
				return bad
			}
		}
	case map[string]any:
		for name, x := range v {
			if _, err := parseID(x); name == "request_detail_id" && err != nil {
				return x
			}
			if bad := badDetail(x); bad != nil {
				return bad
			}
		}
	}
	return nil
}

// Failed closes every request detail of a payload as failed, because of err.
func Failed(raw []byte, err error) []*tiebackv1.CloseOut {
	var out []*tiebackv1.CloseOut
	for _, id := range Details(raw) {
		out = append(out, &tiebackv1.CloseOut{
			RequestDetailId: id, Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{fault.UserMessage(err, sorry)},
		})
	}
	return out
}
