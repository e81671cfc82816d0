// Package trace reads back what happened to one ERP request: every message that the streams hold of
// it, in all its runs, where it is if it is not finished, and what that comes to in a sentence. It
// changes nothing. What was not recorded is not told: attempts, for one, are remembered only while
// a message is unfinished, and of what was given up.
package trace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/services/audit"
	"github.com/tieback/tieback/services/deadletters"
	"github.com/tieback/tieback/services/deadline"
)

// Options say what is read, and how.
type Options struct {
	Company, Request int64
	Payload          bool // with what Procore sent, which may hold personal data
	Limits           deadline.Limits
	Ours             *company.Company                  // whose since says whether the request is ours; nil: it is
	Backoff          time.Duration                     // of the pipeline's consumers; 0: 1 s
	Procore          *procore.Session                  // asked as well; nil: only our streams are
	Waiting          func(d time.Duration, why string) // told of each wait for Procore, before it; nil: nobody is
}

// Story is all that is known of one ERP request. The names of its fields are stable.
type Story struct {
	Company   int64       `json:"company"`
	Request   int64       `json:"request"`
	Type      string      `json:"type"` // "_": not known
	Category  string      `json:"category"`
	Clicked   *time.Time  `json:"clicked_at"` // by Procore's clock; null: not known
	Steps     []Step      `json:"steps"`      // in the order of time
	Now       *Place      `json:"now"`        // null: nothing of it is at work
	Procore   *Asked      `json:"procore"`    // null: Procore was not asked
	Unread    []string    `json:"unread"`     // what could not be asked, and why: the rest may lack because of it
	Class     audit.Class `json:"class"`
	Accounted bool        `json:"accounted_for"` // it needs nobody
	Verdict   string      `json:"verdict"`
}

// Read reads a story. What one stream does not tell is noted as unread; an error is the end of ctx.
func Read(ctx context.Context, b *bus.Bus, o Options) (Story, error) {
	r := &reading{bus: b, Options: o, Story: Story{Company: o.Company, Request: o.Request, Steps: []Step{}, Unread: []string{}}}
	messages := r.messages(ctx)
	r.trace = audit.TraceOf(o.Request, messages)
	r.Type = r.trace.Type
	r.Category = string(bus.For(bus.Event, r.Type, 0, 0).Category)
	r.steps(deadletters.Steps(messages))
	var details []erplog.Detail
	if o.Procore != nil {
		details = r.ask(ctx)
	}
	r.place(ctx)
	r.judge(details, time.Now())
	return r.Story, ctx.Err()
}

// reading is a story while it is read.
type reading struct {
	Options
	Story
	bus        *bus.Bus
	waited     time.Duration // for Procore
	trace      *audit.Trace
	why        string          // of the class
	messagesOf []proto.Message // of the steps; nil: it does not parse
}

func (r *reading) unread(what string, err error) {
	r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
}

// messages are all that the streams hold of the request, asked for at once: a broker that is away
// is waited for once.
func (r *reading) messages(ctx context.Context) []bus.Message {
	found, errs := make([][]bus.Message, len(bus.Kinds)), make([]error, len(bus.Kinds))
	var all sync.WaitGroup
	for i, k := range bus.Kinds {
		first := fmt.Sprintf("tb.%s.*.*.%d.%d", k, r.Options.Company, r.Options.Request)
		all.Go(func() {
			errs[i] = r.bus.Scan(ctx, bus.Scan{Kind: k, Subjects: []string{first, first + ".*"}}, func(m bus.Message) error {
				found[i] = append(found[i], m)
				return nil
			})
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			r.unread("the stream "+bus.Kinds[i].Stream(), err)
		}
	}
	return slices.Concat(found...)
}
