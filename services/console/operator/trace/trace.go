// Package trace implements `tieback trace`: it shows the timeline of one ERP request, with every message that the
// streams hold of it, in all its runs, its current stage if it has not ended, and a verdict in one sentence. It changes
// nothing. It shows only what was recorded: attempts are stored only while a message is unfinished, and in dead letters.
package trace

import (
	"context"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
)

// Options say which request is read, and how.
type Options struct {
	Company, Request int64
	Payload          bool // include what Procore sent, which may contain personal data
	Rules            request.Rules
	Backoff          time.Duration                     // of the pipeline's consumers; 0: 1 s
	Procore          *procore.Session                  // also read; nil: only the streams are read
	Waiting          func(d time.Duration, why string) // called before each wait for Procore; may be nil
}

// Trace is the timeline and the state of one ERP request.
type Trace struct {
	Company   int64         `json:"company_id"`
	Request   int64         `json:"request_id"`
	Type      string        `json:"type"` // "_" if not known
	Category  string        `json:"category"`
	Clicked   *time.Time    `json:"clicked_at"` // by Procore's clock; null if not known
	Steps     []Step        `json:"steps"`      // oldest first
	Current   *Current      `json:"current"`    // null if nothing is in progress
	Procore   *ProcoreState `json:"procore"`    // null if Procore was not read
	Unread    []string      `json:"unread"`     // what could not be read, and why; the trace may be incomplete
	Class     request.Class `json:"class"`
	Accounted bool          `json:"accounted_for"` // it needs no action
	Verdict   string        `json:"verdict"`
}

// Read reads a trace. A stream that can't be read is listed in Unread. The only error is ctx's.
func Read(ctx context.Context, b *bus.Bus, o Options) (Trace, error) {
	r := &reader{bus: b, Options: o, Trace: Trace{Company: o.Company, Request: o.Request, Steps: []Step{}, Unread: []string{}}}
	messages, unread := request.Messages(ctx, b, o.Company, o.Request)
	for _, k := range bus.Kinds {
		if err := unread[k]; err != nil {
			r.unread("the stream "+k.Stream(), err)
		}
	}
	kept, err := b.Retention(ctx, bus.Event)
	if err != nil && unread[bus.Event] == nil {
		r.unread("the stream "+bus.Event.Stream(), err)
	}
	r.read(messages, kept)
	var p request.ProcoreLists
	if o.Procore != nil {
		p.Details = r.askProcore(ctx)
	}
	now := time.Now()
	r.verdict = r.timeline.Verdict(o.Rules, p, now)
	r.current(ctx)
	r.conclude(now)
	return r.Trace, ctx.Err()
}

// reader reads a trace.
type reader struct {
	Options
	Trace
	bus      *bus.Bus
	waited   time.Duration // for Procore
	timeline *request.Timeline
	verdict  request.Verdict
}

func (r *reader) unread(what string, err error) {
	r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
}

// read fills the trace from messages.
func (r *reader) read(messages []bus.Message, kept time.Duration) {
	r.timeline = request.TimelineOf(r.Options.Request, messages, kept)
	r.Type = r.timeline.Type
	r.Category = string(bus.For(bus.Event, r.Type, 0, 0).Category)
	if at := r.timeline.Created; !at.IsZero() {
		r.Clicked = &at
	}
	r.steps(request.Steps(messages))
}
