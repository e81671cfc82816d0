// Package trace reads the timeline of one ERP request: every message that the streams have of it, in all its runs, its
// current stage if it has not ended, and a verdict in one sentence. It changes nothing. It has only what was recorded:
// attempts are stored only while a message is unfinished, and in dead letters.
package trace

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// Options say which request is read, and how.
type Options struct {
	Company, Request int64
	Payload          bool // include what Procore sent, which may contain personal data
	Rules            request.Rules
	Backoff          time.Duration    // of the pipeline's consumers; 0: 1 s
	Procore          *procore.Session // also read; nil: only the streams are read
}

// Read reads a timeline without the fields that only the index and the companies file know. A stream that can't be read is
// listed in Unread. The only error is that of ctx.
func Read(ctx context.Context, b *bus.Bus, o Options) (*operatorv1.Timeline, error) {
	r := newReader(o)
	r.bus = b
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
	r.verdict = r.history.Verdict(o.Rules, p, now)
	r.current(ctx)
	r.conclude(now)
	return r.Timeline, ctx.Err()
}

// reader reads a timeline.
type reader struct {
	Options
	*operatorv1.Timeline
	bus     *bus.Bus
	waited  time.Duration // for Procore
	history *request.Timeline
	verdict request.Verdict
}

func newReader(o Options) *reader {
	return &reader{Options: o, Timeline: &operatorv1.Timeline{Request: &operatorv1.RequestRow{CompanyId: o.Company, RequestId: o.Request}}}
}

func (r *reader) unread(what string, err error) {
	r.Unread = append(r.Unread, fmt.Sprintf("%s: %v", what, err))
}

// read fills the timeline from messages.
func (r *reader) read(messages []bus.Message, kept time.Duration) {
	r.history = request.TimelineOf(r.Options.Request, messages, kept)
	row := r.Timeline.Request
	row.Type, row.Category, row.Created = r.history.Type, string(bus.For(bus.Event, r.history.Type, 0, 0).Category), at(r.history.Created)
	if d := r.history.OpenDeadLetter(); d != nil {
		row.DeadLetter = d.ID
	}
	r.steps(request.Steps(messages))
}

// at converts a time; the zero time is absent.
func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// valid returns t, or nil if it is out of range: JSON can't represent it.
func valid(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	if !t.IsValid() {
		return nil
	}
	return t
}

// between returns the time from one step to another. It is not negative, though clocks differ.
func between(from, to time.Time) *durationpb.Duration { return durationpb.New(max(0, to.Sub(from))) }
