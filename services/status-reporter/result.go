package statusreporter

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// newCloseOutCounter returns the counter of events that were reported to Procore.
func newCloseOutCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_close_outs_total",
		Help: "Events that were reported to Procore, by company, category and outcome: success, refused because of a record's data, or failed.",
	}, []string{"company", "category", "outcome"})
}

// exportZeros exports zeros for a company, so that Prometheus sees the first close-out as an increase.
func (s *Service) exportZeros(company int64) {
	for _, c := range append([]catalogue.Category{catalogue.Unknown}, catalogue.Categories...) {
		for _, r := range bus.Results {
			s.closeOuts.WithLabelValues(strconv.FormatInt(company, 10), string(c), string(r))
		}
	}
}

// resultOf returns the result of an event: failed if it became a dead letter; otherwise refused if any close-out failed;
// otherwise success.
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

// reasonOf returns the messages of an outcome's first failed close-out; "": no close-out failed.
func reasonOf(o *tiebackv1.Outcome) string {
	for _, c := range o.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			return strings.Join(c.Messages, " ")
		}
	}
	return ""
}
