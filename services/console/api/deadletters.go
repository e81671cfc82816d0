package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/operator/dead"
)

// maxResolved bounds the dead letters of one call.
const maxResolved = 1000

// whoCanAct says for each cause who can correct it.
var whoCanAct = map[string]string{
	"company-data": "The accountant, in the record. Then they press the button again.",
	"erp":          "The operator of the ERP. Replay once the ERP answers again.",
	"procore":      "Procore, or the administrator who gives Tieback its permissions.",
	"limits":       "Nobody needs to: a rate limit was used up for too long. Replay later.",
	"tieback":      "The operators of Tieback: a release, a setting, or a message that no service of Tieback wrote.",
	"unknown":      "Not known: the message is of a version that recorded no cause.",
}

// ListDeadLetters implements DeadLetterService.
func (a *API) ListDeadLetters(ctx context.Context, r *operatorv1.ListDeadLettersRequest) (*operatorv1.ListDeadLettersResponse, error) {
	all, err := a.selected(ctx, r.Filter)
	if err != nil {
		return nil, err
	}
	from, size, err := pageOf(r.PageToken, r.PageSize, 100)
	if err != nil {
		return nil, err
	}
	out := &operatorv1.ListDeadLettersResponse{Total: uint64(len(all))}
	for _, cause := range request.Causes {
		n := uint64(0)
		for _, l := range all {
			if l.Cause == cause {
				n++
			}
		}
		if n > 0 {
			out.Causes = append(out.Causes, &operatorv1.CauseCount{Cause: cause, Count: n, WhoCanAct: whoCanAct[cause]})
		}
	}
	page := all[min(from, len(all)):]
	if len(page) > size {
		page, out.NextPageToken = page[:size], strconv.Itoa(from+size)
	}
	for _, l := range page {
		l.CompanyName = a.companyName(l.Request.CompanyId)
	}
	out.DeadLetters = page
	return out, nil
}

// selected returns the dead letters that a filter selects and that the caller may see, the newest first. nil selects all
// that are unresolved.
func (a *API) selected(ctx context.Context, f *operatorv1.DeadLetterFilter) ([]*operatorv1.DeadLetter, error) {
	ids, all, err := a.visible(ctx, f.GetCompanyIds())
	if err != nil {
		return nil, err
	}
	q := request.Filter{Since: when(f.GetSince()), Until: when(f.GetUntil()), Contains: f.GetContains(), All: f.GetIncludeResolved()}
	if len(ids) == 1 && !all {
		q.Company = ids[0]
	}
	for _, t := range f.GetTypes() {
		if _, known := catalogue.Lookup(t); !known && t != catalogue.Unknown {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("types: %q is not an event type", t))
		}
	}
	for _, c := range f.GetCauses() {
		if !slices.Contains(request.Causes, c) {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("causes: %q is none of %s", c, strings.Join(request.Causes, ", ")))
		}
	}
	letters, err := dead.List(ctx, a.app.Bus, q)
	if err != nil {
		return nil, err
	}
	in := func(values []string, v string) bool { return len(values) == 0 || slices.Contains(values, v) }
	return slices.DeleteFunc(letters, func(l *operatorv1.DeadLetter) bool {
		of := l.Request
		return !all && !slices.Contains(ids, of.CompanyId) || !in(f.GetTypes(), of.Type) || !in(f.GetCategories(), l.Category) || !in(f.GetCauses(), l.Cause) ||
			!in(f.GetStages(), l.Stage) || f.GetRequestId() != 0 && f.GetRequestId() != of.RequestId
	}), nil
}

// companyName returns a company's name; "": it is not in the companies file.
func (a *API) companyName(id int64) string {
	if c := a.app.Companies[id]; c != nil {
		return c.Name
	}
	return ""
}

// GetDeadLetter implements DeadLetterService.
func (a *API) GetDeadLetter(ctx context.Context, r *operatorv1.GetDeadLetterRequest) (*operatorv1.GetDeadLetterResponse, error) {
	l, err := a.mayResolve(ctx, access.See, r.Id)
	if err == nil && r.IncludePayload {
		err = a.may(ctx, access.SeePayload, l.CompanyId)
	}
	if err != nil {
		return nil, err
	}
	out, err := dead.Show(ctx, a.app.Bus, r.Id)
	if err != nil {
		return nil, err
	}
	out.DeadLetter.CompanyName = a.companyName(l.CompanyId)
	if r.IncludePayload {
		return out, nil
	}
	out.Message = ""
	for _, s := range out.DeadLetter.Resolutions {
		s.Difference = "" // it has parts of the payload
	}
	return out, nil
}

// mayResolve reads a dead letter and checks what the caller may do with it.
func (a *API) mayResolve(ctx context.Context, do access.Action, id uint64) (request.DeadLetter, error) {
	l, err := request.ReadDeadLetter(ctx, a.app.Bus, id)
	if errors.Is(err, request.ErrNoDeadLetter) {
		return l, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no dead letter %d: the list of dead letters has the ids", id))
	}
	if err != nil {
		return l, err
	}
	if err := a.may(ctx, do, l.CompanyId); err != nil {
		if connect.CodeOf(err) == connect.CodeNotFound {
			err = connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no dead letter %d: the list of dead letters has the ids", id))
		}
		return l, err
	}
	return l, nil
}

func (a *API) resolver(ctx context.Context) *dead.Resolver {
	return &dead.Resolver{Bus: a.app.Bus, Who: access.From(ctx).Name}
}

// PreviewReplay implements DeadLetterService.
func (a *API) PreviewReplay(ctx context.Context, r *operatorv1.PreviewReplayRequest) (*operatorv1.PreviewReplayResponse, error) {
	ids := r.Ids
	if len(ids) == 0 {
		all, err := a.selected(ctx, r.Filter)
		if err != nil {
			return nil, err
		}
		for _, l := range all {
			ids = append(ids, l.Id)
		}
	}
	out := &operatorv1.PreviewReplayResponse{Total: uint64(len(ids))}
	if r.EditedMessage != "" {
		if len(ids) != 1 {
			return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("edited_message is for a single dead letter"))
		}
		p, err := a.previewEdit(ctx, ids[0], r.EditedMessage)
		out.Previews = append(out.Previews, p)
		return out, err
	}
	for _, id := range ids[:min(len(ids), maxResolved)] {
		p, err := a.preview(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Previews = append(out.Previews, p)
	}
	return out, nil
}

func (a *API) preview(ctx context.Context, id uint64) (*operatorv1.ReplayPreview, error) {
	l, err := a.mayResolve(ctx, access.See, id)
	if err != nil {
		return nil, err
	}
	d, err := dead.Show(ctx, a.app.Bus, id)
	if err != nil {
		return nil, err
	}
	p := &operatorv1.ReplayPreview{Id: id, Replayable: d.Replayable, Text: d.WhyNot}
	switch {
	case !p.Replayable:
	case l.Resolved():
		p.Replayable, p.Text = false, fmt.Sprintf("dead letter %d is %s already", id, l.State)
	default:
		p.Text = fmt.Sprintf("The message goes to %s again. It is booked only if it was not booked before, and refused if a newer request has changed the record.", l.Stage)
		if d.Reported == string(request.FailureReported) {
			p.Text += " Procore shows the request as failed already, and keeps that status; the record is marked as synced."
		}
	}
	return p, nil
}

func (a *API) previewEdit(ctx context.Context, id uint64, edited string) (*operatorv1.ReplayPreview, error) {
	l, err := a.mayResolve(ctx, access.SeePayload, id)
	if err != nil {
		return nil, err
	}
	e, err := a.edit(ctx, l.ID, edited)
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		return &operatorv1.ReplayPreview{Id: id, Text: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	if e.Difference == "" {
		return &operatorv1.ReplayPreview{Id: id, Text: "The message was not changed.", Unchanged: true}, nil
	}
	return &operatorv1.ReplayPreview{Id: id, Replayable: true, Text: fmt.Sprintf("The edited message goes to %s.", l.Stage), Difference: e.Difference}, nil
}

// edit checks an edited message. If it is not accepted, the error has the code invalid_argument.
func (a *API) edit(ctx context.Context, id uint64, edited string) (*dead.Edited, error) {
	draft, err := a.resolver(ctx).Edit(ctx, id)
	if err != nil {
		return nil, refused(err)
	}
	e, err := draft.Take(edited)
	if errors.Is(err, dead.ErrInvalidEdit) {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return e, err
}

// refused gives errors that a dead letter can't be resolved their code.
func refused(err error) error {
	var resolved *dead.ResolvedError
	if errors.As(err, &resolved) || errors.Is(err, dead.ErrNotReplayable) {
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return err
}

// Replay implements DeadLetterService.
func (a *API) Replay(ctx context.Context, r *operatorv1.ReplayRequest) (*operatorv1.ReplayResponse, error) {
	results, err := a.resolve(ctx, r.Ids, r.Wait, func(ctx context.Context, id uint64) (dead.Resolution, error) {
		return a.resolver(ctx).Replay(ctx, id, r.Again)
	})
	return &operatorv1.ReplayResponse{Results: results}, err
}

// EditAndReplay implements DeadLetterService.
func (a *API) EditAndReplay(ctx context.Context, r *operatorv1.EditAndReplayRequest) (*operatorv1.EditAndReplayResponse, error) {
	if _, err := a.mayResolve(ctx, access.SeePayload, r.Id); err != nil {
		return nil, err
	}
	results, err := a.resolve(ctx, []uint64{r.Id}, r.Wait, func(ctx context.Context, id uint64) (dead.Resolution, error) {
		e, err := a.edit(ctx, id, r.Message)
		if err != nil {
			return dead.Resolution{}, err
		}
		if e.Difference == "" {
			return dead.Resolution{}, errors.New("the message was not changed, so nothing was sent")
		}
		return e.Replay(ctx, r.Again)
	})
	if err != nil {
		return nil, err
	}
	return &operatorv1.EditAndReplayResponse{Result: results[0]}, nil
}

// Discard implements DeadLetterService.
func (a *API) Discard(ctx context.Context, r *operatorv1.DiscardRequest) (*operatorv1.DiscardResponse, error) {
	if strings.TrimSpace(r.Reason) == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("reason is missing: say why the messages are not needed; it is kept"))
	}
	results, err := a.resolve(ctx, r.Ids, false, func(ctx context.Context, id uint64) (dead.Resolution, error) {
		return a.resolver(ctx).Discard(ctx, id, r.Reason)
	})
	return &operatorv1.DiscardResponse{Results: results}, err
}

// maxWait is how long a call waits for replays to end.
const maxWait = 10 * time.Minute

// resolve resolves dead letters after it has checked that the caller may resolve all of them.
func (a *API) resolve(ctx context.Context, ids []uint64, wait bool, one func(context.Context, uint64) (dead.Resolution, error)) ([]*operatorv1.ReplayResult, error) {
	switch {
	case len(ids) == 0:
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("ids are missing"))
	case len(ids) > maxResolved:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d ids were given; a call takes at most %d", len(ids), maxResolved))
	}
	for _, id := range ids {
		if _, err := a.mayResolve(ctx, access.Act, id); err != nil {
			return nil, err
		}
	}
	watch, err := a.resolver(ctx).Watch(ctx)
	if err != nil {
		return nil, err
	}
	results := map[uint64]*operatorv1.ReplayResult{}
	var sent []*tiebackv1.Resolution
	dead.ResolveAll(ctx, ids, one, func(r dead.Result) {
		out := &operatorv1.ReplayResult{Id: r.ID, Done: r.Err == nil, Resumed: r.Resolution.Resumed}
		if r.Resolution.Resolution != nil {
			out.Resolution = dead.Stored(r.Resolution.Resolution)
		}
		if r.Err != nil {
			out.Error = r.Err.Error()
		} else {
			sent = append(sent, r.Resolution.Resolution)
		}
		results[r.ID] = out
	})
	defer a.readings.forget() // after the wait
	a.readings.forget()
	if wait {
		waiting, cancel := context.WithTimeout(ctx, maxWait)
		defer cancel()
		err := watch.Wait(waiting, sent, func(e dead.End) {
			r := results[e.ID]
			r.Ended, r.Closed, r.DeadLetter = at(e.At), e.Closed != nil, e.NewID
			if e.Closed != nil {
				r.Text = request.CloseOutsText(e.Closed.CloseOuts)
			} else {
				r.Text = e.Dead.GetError()
			}
		})
		if err != nil && waiting.Err() == nil {
			return nil, err
		}
	}
	out := make([]*operatorv1.ReplayResult, len(ids))
	for i, id := range ids {
		out[i] = results[id]
	}
	return out, nil
}
