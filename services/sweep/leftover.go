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

// watch looks in our own streams how the watched details' requests stand. A detail that was
// told is watched no longer. One that nothing of ours will close any more, as the request's end said
// nothing of it, gets an outcome of its own.
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
		if t.LeftAlone() {
			continue
		}
		if !t.Ended() {
			still = append(still, r.still(id, left)...)
			continue
		}
		if err := r.close(ctx, t, left); err != nil {
			return err
		}
	}
	r.memory.Watched = still
	return nil
}

// still are the details of a request that go on being watched, but not for longer than our streams
// could say anything of it.
func (r *round) still(request int64, details []int64) []watched {
	return slices.DeleteFunc(slices.Clone(r.memory.Watched), func(w watched) bool {
		return w.Request != request || !slices.Contains(details, w.Detail) || r.kept > 0 && time.Since(w.Since) > r.kept
	})
}

// close has the details of a request closed that its end has left open. It can be done once for
// a request: what is open after that is for a person, who sees it in an audit.
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

// What the accountant is told of a request detail that nothing else closes.
const (
	unread  = "The ERP integration could not get this request from Procore, so nothing was done in your ERP system. Please try again; if that fails too, tell whoever runs the integration."
	unknown = "The ERP integration has ended its work on this request and does not know how this part of it ended. Look in your ERP system before you try again."
)

// leftover says how the details of a request ended that its own close-outs did not name.
//
//	given up by the fetcher, which had no payload   failed: nothing was done
//	given up elsewhere                              failed, with the dead letter's sentence
//	all done, and no detail was named at all        success: the one detail stands for the whole request
//	anything else                                   failed: not known
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

// done says whether a request was done in whole, without a word of any request detail.
func done(t *request.Timeline) bool {
	told := 0
	for _, r := range t.Reports {
		for _, c := range r.CloseOuts {
			if told++; c.RequestDetailId != 0 || c.Status != tiebackv1.Status_STATUS_SUCCESS {
				return false
			}
		}
	}
	return told > 0
}
