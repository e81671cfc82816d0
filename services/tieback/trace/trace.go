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

// Options say what is read, and how.
type Options struct {
	Company, Request int64
	Payload          bool // with what Procore sent, which may hold personal data
	Rules            request.Rules
	Backoff          time.Duration                     // of the pipeline's consumers; 0: 1 s
	Procore          *procore.Session                  // asked as well; nil: only our streams are
	Waiting          func(d time.Duration, why string) // told of each wait for Procore, before it; nil: nobody is
}

// Story is all that is known of one ERP request. The names of its fields are stable.
type Story struct {
	Company   int64         `json:"company"`
	Request   int64         `json:"request"`
	Type      string        `json:"type"` // "_": not known
	Category  string        `json:"category"`
	Clicked   *time.Time    `json:"clicked_at"` // by Procore's clock; null: not known
	Steps     []Step        `json:"steps"`      // in the order of time
	Now       *Place        `json:"now"`        // null: nothing of it is at work
	Procore   *Asked        `json:"procore"`    // null: Procore was not asked
	Unread    []string      `json:"unread"`     // what could not be asked, and why: the rest may lack because of it
	Class     request.Class `json:"class"`
	Accounted bool          `json:"accounted_for"` // it needs nobody
	Verdict   string        `json:"verdict"`
}

// Read reads a story. What one stream does not tell is noted as unread; an error is the end of ctx.
func Read(ctx context.Context, b *bus.Bus, o Options) (Story, error) {
	r := &reading{bus: b, Options: o, Story: Story{Company: o.Company, Request: o.Request, Steps: []Step{}, Unread: []string{}}}
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
	r.tell(messages, kept)
	var p request.Procore
	if o.Procore != nil {
		p.Details = r.ask(ctx)
	}
	now := time.Now()
	r.verdict = r.timeline.Verdict(o.Rules, p, now)
	r.place(ctx)
	r.judge(now)
	return r.Story, ctx.Err()
}

// reading is a story while it is read.
type reading struct {
	Options
	Story
	bus      *bus.Bus
	waited   time.Duration // for Procore
	timeline *request.Timeline
	verdict  request.Verdict
}

func (r *reading) unread(what string, err error) {
	r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
}

// tell makes the story of messages.
func (r *reading) tell(messages []bus.Message, kept time.Duration) {
	r.timeline = request.Of(r.Options.Request, messages, kept)
	r.Type = r.timeline.Type
	r.Category = string(bus.For(bus.Event, r.Type, 0, 0).Category)
	if at := r.timeline.Created; !at.IsZero() {
		r.Clicked = &at
	}
	r.steps(request.Steps(messages))
}
