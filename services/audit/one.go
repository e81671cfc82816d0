package audit

import (
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/services/deadline"
)

// TraceOf is the trace of one request, of the messages that our streams hold of it, in any order.
func TraceOf(request int64, messages []bus.Message) *Trace {
	traces := map[int64]*Trace{}
	t := trace(traces, request)
	for _, m := range messages {
		note(traces, m)
	}
	return t
}

// Judge says how one request ended, or where it is. details are its request details in Procore;
// nil: Procore was not asked, so that only our streams count. ours is the company, nil where all requests count as its own.
func Judge(t *Trace, details []erplog.Detail, now time.Time, limits deadline.Limits, ours *company.Company) Finding {
	return judge(t.Request, facts{trace: t, details: details, now: now, limits: limits, ours: ours, lost: t.lostLetter(now)})
}

// Stage is the stop at which a request is, which is the name of its consumer too, the stream that
// it reads, and the message that it has to work. "": it is at none.
func (t *Trace) Stage() (stop, stream string, at Stop) {
	stop, at = t.stage()
	return stop, streamOf(stop), at
}
