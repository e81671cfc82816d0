package dead

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/trace"
)

// List returns the dead letters that the filter selects, without messages and company names, the newest first.
func List(ctx context.Context, b *bus.Bus, f request.Filter) ([]*operatorv1.DeadLetter, error) {
	all, err := request.DeadLetters(ctx, b, f)
	var out []*operatorv1.DeadLetter
	for _, d := range slices.Backward(all) {
		out = append(out, letter(d))
	}
	return out, err
}

func letter(d request.DeadLetter) *operatorv1.DeadLetter {
	l := &operatorv1.DeadLetter{
		Id: d.ID, At: timestamppb.New(d.At), State: string(d.State), Request: &operatorv1.RequestRef{CompanyId: d.CompanyId, RequestId: d.ErpRequestId, Type: d.Type},
		Category: string(d.Category()), Stage: d.Stage, Class: request.ClassName(d.Class), Cause: d.Cause(), Attempts: d.Attempts,
		Error: d.Error, UserMessage: d.UserMessage, Subject: d.Subject,
	}
	for _, r := range d.Resolutions {
		l.Resolutions = append(l.Resolutions, Stored(r))
	}
	return l
}

// Stored converts a resolution of the stream.
func Stored(r *tiebackv1.Resolution) *operatorv1.Resolution {
	s := &operatorv1.Resolution{
		Action: request.ActionName(r.Action), Who: r.Who, Reason: r.Reason, Subject: r.Subject, Difference: r.Difference, Text: request.ResolutionText(r),
	}
	if r.At.IsValid() { // JSON can't represent an invalid time
		s.At = r.At
	}
	return s
}

// Show returns a dead letter with its message and the history of its request. Errors: request.ErrNoDeadLetter, or the broker's.
func Show(ctx context.Context, b *bus.Bus, id uint64) (*operatorv1.GetDeadLetterResponse, error) {
	d, err := request.ReadDeadLetter(ctx, b, id)
	if err != nil {
		return nil, err
	}
	messages, unread := request.Messages(ctx, b, d.CompanyId, d.ErpRequestId)
	if err := errors.Join(slices.Collect(maps.Values(unread))...); err != nil {
		return nil, err
	}
	out := &operatorv1.GetDeadLetterResponse{DeadLetter: letter(d), Stream: d.Stream, StreamSequence: d.StreamSequence}
	text, why := (&Resolver{Bus: b}).Text(ctx, d)
	if out.Message, out.Replayable = text, why == nil; why != nil {
		out.WhyNot = why.Error()
	}
	steps := request.Steps(messages)
	reported, shown := request.FailureReportOf(d, steps)
	out.Reported, out.ReportedMessages = string(reported), shown
	out.History = trace.Steps(steps, false)
	for _, s := range request.TimelineOf(d.ErpRequestId, messages, 0).RunStates() {
		out.Runs = append(out.Runs, &operatorv1.RunState{Run: s.Run, At: timestamppb.New(s.At), Text: s.Text})
	}
	return out, nil
}
