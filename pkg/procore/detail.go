package procore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tieback/tieback/pkg/fault"
)

// Statuses of a request detail. There may be more: what a status means that is not listed is not known.
const (
	DetailInProgress = "in_progress" // the user waits
	DetailSuccess    = "success"
	DetailFailed     = "failed"
	DetailRejected   = "rejected" // an approver called the export off
	DetailStale      = "stale"
)

// DetailCalledOff reports whether a request detail with this status must not be worked: it ended without the
// integration, or nobody knows what the status means. "" is no status, and says nothing.
func DetailCalledOff(status string) bool {
	return status != "" && !slices.Contains([]string{DetailInProgress, DetailSuccess, DetailFailed}, status)
}

// DetailStatus asks for a request detail's status; "": the answer has none. Do makes the call: a Session's, or one
// that retries. An answer that does not parse is a transient error of Procore.
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
