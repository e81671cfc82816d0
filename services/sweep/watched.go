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

// closeWatched reads the timelines of the watched details' requests. A detail that was closed is no longer watched. If a request
// has ended without closing a detail, closeWatched publishes an outcome for it.
func (r *companySweep) closeWatched(ctx context.Context) error {
	byRequest := map[int64][]int64{}
	for _, w := range r.checkpoint.Watched {
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
	var still []watchedDetail
	for _, id := range requests {
		t := timelines[id]
		open := slices.DeleteFunc(byRequest[id], func(detail int64) bool { return t.Closes(detail) })
		if len(open) == 0 || t.Skipped() {
			continue
		}
		if !t.Ended() || r.mayBeClosing(t) {
			still = append(still, r.stillWatched(id, open)...)
			continue
		}
		if err := r.close(ctx, t, open); err != nil {
			return err
		}
	}
	r.checkpoint.Watched = still
	return nil
}

// mayBeClosing reports whether the stage that wrote the newest dead letter of a request may still be closing its details.
func (r *companySweep) mayBeClosing(t *request.Timeline) bool {
	d := t.NewestDeadLetter()
	return d != nil && time.Since(d.At) < r.Grace
}

// stillWatched returns the details of a request that stay watched, because they have not been watched for longer than the
// retention of the streams.
func (r *companySweep) stillWatched(request int64, details []int64) []watchedDetail {
	return slices.DeleteFunc(slices.Clone(r.checkpoint.Watched), func(w watchedDetail) bool {
		return w.Request != request || !slices.Contains(details, w.Detail) || r.retention > 0 && time.Since(w.Since) > r.retention
	})
}

// close publishes an outcome for the details that a request has left open. It does so only once per request; audit lists details
// that are still open after that.
func (r *companySweep) close(ctx context.Context, t *request.Timeline, details []int64) error {
	o := &tiebackv1.Outcome{
		CompanyId: r.id, ErpRequestId: t.Request, Type: catalogue.Unknown, RequestedAt: timestamppb.New(t.Created),
		CloseOuts: closeOutsOf(t, details), DeadLettered: len(t.DeadLetters) > 0,
	}
	first, err := r.Bus.PublishIfAbsent(ctx, bus.For(bus.Outcome, "", r.id, t.Request).WithRun(bus.Swept), o)
	if first {
		r.Closed = append(r.Closed, details...)
	}
	return err
}

// Messages for the accountant.
const (
	notFetched    = "The ERP integration could not get this request from Procore, so nothing was done in your ERP system. Please try again; if that fails too, contact the administrator of your ERP integration."
	unknownResult = "The ERP integration has ended its work on this request and does not know the result of this part of it. Check your ERP system before you try again."
)

// closeOutsOf returns close-outs for the details that a request has left open.
//
//	dead-lettered by the fetcher                          failed, because nothing was done
//	dead-lettered by another stage                        failed, with the dead letter's user message
//	all close-outs are successes without a request
//	  detail, and one detail is open                      success, because that detail is for the whole request
//	anything else                                         failed, because the result is unknown
func closeOutsOf(t *request.Timeline, details []int64) []*tiebackv1.CloseOut {
	status, text := tiebackv1.Status_STATUS_FAILED, unknownResult
	switch dead := t.NewestDeadLetter(); {
	case dead != nil && dead.Stage == request.Fetcher:
		text = cmp.Or(dead.UserMessage, notFetched)
	case dead != nil:
		text = cmp.Or(dead.UserMessage, unknownResult)
	case len(details) == 1 && allSucceeded(t):
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

// allSucceeded reports whether the request has close-outs, all of them successes without a request detail.
func allSucceeded(t *request.Timeline) bool {
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
