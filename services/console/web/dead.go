package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
)

func (f filter) dead() *v1.DeadLetterFilter {
	return &v1.DeadLetterFilter{
		CompanyIds: f.company, Types: list(f.Type), Categories: list(f.Category), Causes: list(f.Cause), Stages: list(f.Stage), Contains: f.Text, Since: f.since, Until: f.until, IncludeResolved: f.Resolved,
	}
}

// deadList is the page of dead letters.
type deadList struct {
	Filter  filter
	Bulk    url.Values // the filter, for the actions on all
	Letters []*v1.DeadLetter
	Causes  []*v1.CauseCount
	Total   uint64
	Next    string
}

const (
	deadPage = 50
	maxBulk  = 1000 // dead letters in one action
)

func (s *site) listDead(c *call) error {
	f, err := c.readFilter()
	if err != nil {
		return err
	}
	res, err := s.api.DeadLetters.ListDeadLetters(c.r.Context(), &v1.ListDeadLettersRequest{Filter: f.dead(), PageSize: deadPage, PageToken: c.form.Get("after")})
	if err != nil {
		return err
	}
	d := copied(res)
	return c.render(http.StatusOK, "dead", "dead", "Dead letters", deadList{
		Filter: f, Bulk: f.query(), Letters: d.GetDeadLetters(), Causes: d.GetCauses(), Total: d.GetTotal(), Next: res.GetNextPageToken(),
	})
}

// letter is the page of a dead letter, and of its edit.
type letter struct {
	*v1.GetDeadLetterResponse
	ID        uint64
	Shown     bool // the message is included
	Edited    string
	Preview   *v1.ReplayPreview
	Unchanged bool
}

// letter reads a dead letter.
func (s *site) letter(c *call, payload bool) (letter, error) {
	n, err := c.number("id")
	if err != nil {
		return letter{}, err
	}
	res, err := s.api.DeadLetters.GetDeadLetter(c.r.Context(), &v1.GetDeadLetterRequest{Id: uint64(n), IncludePayload: payload}) //nolint:gosec // it is positive
	if err != nil {
		return letter{}, err
	}
	return letter{GetDeadLetterResponse: copied(res), ID: uint64(n), Shown: payload}, nil //nolint:gosec // it is positive
}

func (l letter) company() int64 { return l.GetDeadLetter().GetRequest().GetCompanyId() }

func (s *site) showDead(c *call) error {
	l, err := s.letter(c, c.form.Get("payload") != "" && c.caller.MayAny(access.SeePayload))
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "letter", "dead", "Dead letter "+id(l.ID), l)
}

// editable reads a dead letter that the caller may edit.
func (s *site) editable(c *call) (letter, error) {
	l, err := s.letter(c, c.caller.MayAny(access.SeePayload))
	if err == nil {
		err = c.mayAct(l.company())
	}
	if err == nil && !c.caller.May(access.SeePayload, l.company()) {
		err = errNoPayload
	}
	if err == nil && l.GetMessage() == "" {
		err = invalid("this message can't be edited: it is malformed. Discard it, and let the record be exported again in Procore")
	}
	return l, err
}

func (s *site) editDead(c *call) error {
	l, err := s.editable(c)
	if err != nil {
		return err
	}
	l.Edited = l.GetMessage()
	return c.render(http.StatusOK, "edit", "dead", "Edit dead letter "+id(l.ID), l)
}

// edited returns the message of the form. Browsers send CR LF for the line ends of a text area.
func edited(c *call) string { return strings.ReplaceAll(c.form.Get("message"), "\r\n", "\n") }

// previewEdit shows what the replay of an edited message would do.
func (s *site) previewEdit(c *call) error {
	l, err := s.editable(c)
	if err != nil {
		return err
	}
	l.Edited = edited(c)
	if c.form.Get("back") != "" {
		return c.render(http.StatusOK, "edit", "dead", "Edit dead letter "+id(l.ID), l)
	}
	if l.Unchanged = l.Edited == l.GetMessage(); !l.Unchanged {
		res, err := s.api.DeadLetters.PreviewReplay(c.r.Context(), &v1.PreviewReplayRequest{Ids: []uint64{l.ID}, EditedMessage: l.Edited})
		if err != nil {
			return err
		}
		if all := copied(res).GetPreviews(); len(all) > 0 {
			l.Preview = all[0]
		}
	}
	return c.render(http.StatusOK, "edit", "dead", "Edit dead letter "+id(l.ID), l)
}

func (s *site) replayEdited(c *call) error {
	l, err := s.editable(c)
	if err != nil {
		return err
	}
	res, err := s.api.DeadLetters.EditAndReplay(c.r.Context(), &v1.EditAndReplayRequest{Id: l.ID, Message: edited(c)})
	if err != nil {
		return err
	}
	c.see("/dead/"+id(l.ID), resultsNotice("replayed", []*v1.ReplayResult{copied(res).GetResult()}))
	return nil
}

// bulk is the page before a replay or a discard.
type bulk struct {
	Previews []*v1.ReplayPreview
	IDs      []uint64 // of those that can be replayed, or all for a discard
	Refused  int
	Total    uint64
	More     uint64 // not in this action
	Hidden   int    // previews that are not shown
}

const maxPreviews = 100 // on the page

// chosen returns the ids of the form.
func (c *call) chosen() (ids []uint64, err error) {
	for _, text := range c.form["id"] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return nil, invalid("a dead letter's id must be a number")
		}
		ids = append(ids, uint64(n))
	}
	if len(ids) > maxBulk {
		return nil, invalid("at most 1,000 dead letters at once")
	}
	return ids, nil
}

// selected previews the replay of the chosen dead letters, or of all that the filter selects if all is set.
func (s *site) selected(c *call) (*v1.PreviewReplayResponse, error) {
	ids, err := c.chosen()
	if err != nil {
		return nil, err
	}
	req := &v1.PreviewReplayRequest{Ids: ids}
	if len(ids) == 0 {
		if c.form.Get("all") == "" {
			return nil, invalid("no dead letter is chosen: mark some in the list, or choose all")
		}
		f, err := c.readFilter()
		if err != nil {
			return nil, err
		}
		req.Filter = f.dead()
		req.Filter.IncludeResolved = false
	}
	if err := c.mayAct(0); err != nil {
		return nil, err
	}
	res, err := s.api.DeadLetters.PreviewReplay(c.r.Context(), req)
	if err != nil {
		return nil, err
	}
	return copied(res), nil
}

func previewed(res *v1.PreviewReplayResponse, discard bool) bulk {
	d := bulk{Total: max(res.GetTotal(), uint64(len(res.GetPreviews())))}
	for _, p := range res.GetPreviews() {
		if p.GetReplayable() || discard {
			d.IDs = append(d.IDs, p.GetId())
		} else {
			d.Refused++
		}
	}
	d.Previews = res.GetPreviews()[:min(len(res.GetPreviews()), maxPreviews)]
	d.Hidden, d.More = len(res.GetPreviews())-len(d.Previews), d.Total-uint64(len(res.GetPreviews()))
	return d
}

func (s *site) previewReplay(c *call) error {
	res, err := s.selected(c)
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "replay", "dead", "Replay dead letters", previewed(res, false))
}

func (s *site) confirmDiscard(c *call) error {
	res, err := s.selected(c)
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "discard", "dead", "Discard dead letters", previewed(res, true))
}

func (s *site) replay(c *call) error {
	ids, err := c.chosen()
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return invalid("no dead letter is chosen")
	}
	res, err := s.api.DeadLetters.Replay(c.r.Context(), &v1.ReplayRequest{Ids: ids})
	if err != nil {
		return err
	}
	c.see(after(ids), resultsNotice("replayed", copied(res).GetResults()))
	return nil
}

func (s *site) discard(c *call) error {
	ids, err := c.chosen()
	reason := strings.TrimSpace(c.form.Get("reason"))
	switch {
	case err != nil:
		return err
	case len(ids) == 0:
		return invalid("no dead letter is chosen")
	case reason == "":
		return invalid("a reason is required: it is kept with the request")
	}
	res, err := s.api.DeadLetters.Discard(c.r.Context(), &v1.DiscardRequest{Ids: ids, Reason: reason})
	if err != nil {
		return err
	}
	c.see(after(ids), resultsNotice("discarded", copied(res).GetResults()))
	return nil
}

// after returns the page after an action on dead letters.
func after(ids []uint64) string {
	if len(ids) == 1 {
		return "/dead/" + id(ids[0])
	}
	return "/dead"
}

// resultsNotice says how many dead letters were replayed or discarded, and why the others were not.
func resultsNotice(what string, results []*v1.ReplayResult) notice {
	done := 0
	var n notice
	for _, r := range results {
		link := noticeLine{Link: "/dead/" + id(r.GetId()), LinkText: "Dead letter " + id(r.GetId())}
		if r.GetDone() && r.GetError() == "" {
			done++
			if link.Text = r.GetText(); r.GetDeadLetter() != 0 {
				n.Failed = true
				link.Text = "It failed again: dead letter " + id(r.GetDeadLetter()) + "."
			}
		} else {
			n.Failed = true
			link.Text = sentence(r.GetError())
		}
		if link.Text != "" {
			n.Lines = append(n.Lines, link)
		}
	}
	n.Text = plural(done, "dead letter is ", "dead letters are ") + what + "."
	if what == "replayed" && done > 0 {
		n.Text += " The messages are in the queue again; whether they succeed is on the page of the request."
	}
	if failed := len(results) - done; failed > 0 {
		n.Text += " " + plural(failed, "is", "are") + " not: see the reasons."
	}
	return n
}
