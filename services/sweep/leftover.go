package sweep

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// watch reads the status of the watched details' requests from the streams. A detail that was reported is no longer
// watched. If the request has ended without closing the detail, watch publishes an outcome for it.
func (r *round) watch(ctx context.Context) error {
	byRequest := map[int64][]int64{}
	for _, w := range r.memory.Watched {
		byRequest[w.Request] = append(byRequest[w.Request], w.Detail)
	}
	var requests []int64
	for id := range byRequest {
		requests = append(requests, id)
	}
	slices.Sort(requests)
	timelines, err := request.Read(ctx, r.Bus, r.id, requests...)
	if err != nil {
		return err
	}
	var still []watched
	for _, id := range requests {
		t := timelines[id]
		left := slices.DeleteFunc(byRequest[id], func(detail int64) bool { return t.Closes(detail) })
		if len(left) == 0 {
			continue
		}
		if t.Skipped() {
			continue
		}
		if !t.Ended() || r.mayBeClosing(t) {
			still = append(still, r.stillWatched(id, left)...)
			continue
		}
		if err := r.close(ctx, t, left); err != nil {
			return err
		}
	}
	r.memory.Watched = still
	return nil
}

// mayBeClosing reports whether the stage that wrote a request's newest dead letter may still be closing its request details.
func (r *round) mayBeClosing(t *request.Timeline) bool {
	d := t.NewestDeadLetter()
	return d != nil && time.Since(d.At) < r.Grace
}

// stillWatched returns the details of a request that stay watched: those younger than the retention of the streams.
func (r *round) stillWatched(request int64, details []int64) []watched {
	return slices.DeleteFunc(slices.Clone(r.memory.Watched), func(w watched) bool {
		return w.Request != request || !slices.Contains(details, w.Detail) || r.retention > 0 && time.Since(w.Since) > r.retention
	})
}

// close publishes an outcome for the details that the end of a request has left open. It does so once for a request; audit
// lists details that are still open after that.
func (r *round) close(ctx context.Context, t *request.Timeline, details []int64) error {
	o := &tiebackv1.Outcome{
		CompanyId: r.id, ErpRequestId: t.Request, Type: catalogue.Unknown, RequestedAt: timestamppb.New(t.Created),
		CloseOuts: leftover(t, details), DeadLettered: len(t.DeadLetters) > 0,
	}
	first, err := r.Bus.PublishIfAbsent(ctx, bus.For(bus.Outcome, "", r.id, t.Request).WithRun(bus.Swept), o)
	if first {
		r.Closed = append(r.Closed, details...)
	}
	return err
}

// Messages for the accountant, for request details that nothing else closes.
const (
	unread  = "The ERP integration could not get this request from Procore, so nothing was done in your ERP system. Please try again; if that fails too, contact the administrator of your ERP integration."
	unknown = "The ERP integration has ended its work on this request and does not know the result of this part of it. Check your ERP system before you try again."
)

// leftover returns close-outs for the details of a request that its own close-outs did not name.
//
//	given up by the fetcher, without a payload       failed: nothing was done
//	given up by another stage                        failed, with the dead letter's user message
//	all succeeded, no detail named, one detail open  success: the detail is for the whole request
//	anything else                                    failed: result unknown
func leftover(t *request.Timeline, details []int64) []*tiebackv1.CloseOut {
	status, text := tiebackv1.Status_STATUS_FAILED, unknown
	switch dead := t.NewestDeadLetter(); {
	case dead != nil && dead.Stage == request.Fetcher:
		text = cmp.Or(dead.UserMessage, unread)
	case dead != nil:
		text = cmp.Or(dead.UserMessage, unknown)
	case len(details) == 1 && done(t):
		status, text = tiebackv1.Status_STATUS_SUCCESS, ""
	}
	var out []*tiebackv1.CloseOut
	for _, d := range details {
		c := &tiebackv1.CloseOut{RequestDetailId: d, Status: status}
		if text != "" {
			c.Messages = []string{text}
		}
		out = append(out, c)
	}
	return out
}

// done reports whether all close-outs of a request succeeded, none with a request detail.
func done(t *request.Timeline) bool {
	reported := 0
	for _, r := range t.Reports {
		for _, c := range r.CloseOuts {
			if reported++; c.RequestDetailId != 0 || c.Status != tiebackv1.Status_STATUS_SUCCESS {
				return false
			}
		}
	}
	return reported > 0
}
