package dead

import (
	"time"

	"github.com/tieback/tieback/services/console/operator/dead"
)

type resultsDoc struct {
	Results []resultDoc `json:"results"`
	Done    int         `json:"done"`
	Failed  int         `json:"failed"`
}

type resultDoc struct {
	ID         uint64                 `json:"id"`
	Done       bool                   `json:"done"`
	Resumed    bool                   `json:"resumed,omitempty"` // an earlier replay was interrupted and has been sent now
	Resolution *dead.StoredResolution `json:"resolution,omitempty"`
	Error      string                 `json:"error,omitempty"`
	End        *endDoc                `json:"end,omitempty"` // with --wait
}

type endDoc struct {
	At         time.Time `json:"at"`
	Closed     bool      `json:"closed"`                // false if it is a dead letter again
	DeadLetter uint64    `json:"dead_letter,omitempty"` // the new one, if closed is false
	Text       string    `json:"text"`
}
