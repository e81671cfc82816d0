package procore

import "slices"

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
