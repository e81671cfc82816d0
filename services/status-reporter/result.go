package statusreporter

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func newEnds() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_close_outs_total",
		Help: "Events that were reported to Procore, by company, category and outcome: success, refused for what a record says, failed.",
	}, []string{"company", "category", "outcome"})
}

// startEnds shows a company's close-outs of each kind from the start: its first refusal is an increase.
func (s *Service) startEnds(company int64) {
	for _, c := range append([]catalogue.Category{catalogue.Unknown}, catalogue.Categories...) {
		for _, r := range bus.Results {
			s.ends.WithLabelValues(strconv.FormatInt(company, 10), string(c), string(r))
		}
	}
}

// resultOf is how an event came out, as its outcome says: what was given up failed, a close-out that says failed
// otherwise is a refusal of its record.
func resultOf(o *tiebackv1.Outcome) bus.Result {
	if o.DeadLettered {
		return bus.ResultFailed
	}
	for _, c := range o.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			return bus.ResultRefused
		}
	}
	return bus.ResultSuccess
}

// reasonOf is why an event failed, in the words that were reported first; "": it did not.
func reasonOf(o *tiebackv1.Outcome) string {
	for _, c := range o.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			return strings.Join(c.Messages, " ")
		}
	}
	return ""
}
