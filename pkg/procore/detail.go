package procore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Statuses of a request detail. Procore may have others.
const (
	DetailInProgress = "in_progress" // the user waits
	DetailSuccess    = "success"
	DetailFailed     = "failed"
	DetailRejected   = "rejected" // an approver rejected the export
	DetailStale      = "stale"
)

// Detail is a request detail as Procore lists it.
type Detail struct {
	ID      int64
	Request int64 // 0: not in the list [I]
	Status  string
	Created time.Time     // by Procore's clock; zero: not known
	Age     time.Duration // since Created, by Procore's clock; a day if Created is not known
}

// Open reports whether the user still waits for the result.
func (d Detail) Open() bool { return d.Status == DetailInProgress }

// Ended reports whether an integration has reported success or failure.
func (d Detail) Ended() bool {
	return d.Status == DetailSuccess || d.Status == DetailFailed
}

// CalledOff reports whether the request detail ended without a report: an approver rejected the export, or it became stale.
// A detail that is neither open, ended nor called off has an unknown status, and is not processed.
func (d Detail) CalledOff() bool {
	return d.Status == DetailRejected || d.Status == DetailStale
}

// StatusText describes the status for people.
func (d Detail) StatusText() string {
	switch {
	case d.CalledOff():
		return fmt.Sprintf("request detail %d is %s in Procore: it was called off", d.ID, d.Status)
	case d.Status == "":
		return fmt.Sprintf("request detail %d has no status in Procore's list", d.ID)
	case !d.Open() && !d.Ended():
		return fmt.Sprintf("request detail %d has the status %.40q in Procore, which this version does not know", d.ID, d.Status)
	}
	return fmt.Sprintf("request detail %d is %s in Procore", d.ID, d.Status)
}

// PreventsProcessing reports whether a request detail's status means that its request must not be processed: the detail was called
// off (see Detail.CalledOff), or the status is unknown. It returns false for "".
func PreventsProcessing(status string) bool {
	return status != "" && !slices.Contains([]string{DetailInProgress, DetailSuccess, DetailFailed}, status)
}

// DetailStatus gets a request detail's status; "": the answer has none. do makes the call. An answer that does not parse is a
// transient error of Procore.
func DetailStatus(ctx context.Context, do func(context.Context, Call) ([]byte, error), id int64) (string, error) {
	raw, err := do(ctx, Call{Route: GetRequestDetail, ID: id})
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

// RequestDetails returns the ids of all request details that an ERP request's payload names, wherever they sit (the
// samples do not show all places), in ascending order. It returns nil for a payload that does not parse.
func RequestDetails(payload []byte) []int64 {
	var v any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return nil
	}
	var ids []int64
	collectDetails(v, &ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func collectDetails(v any, ids *[]int64) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			collectDetails(x, ids)
		}
	case map[string]any:
		for name, x := range v {
			if id := ID(x); name == "request_detail_id" && id > 0 {
				*ids = append(*ids, id)
			}
			collectDetails(x, ids)
		}
	}
}
