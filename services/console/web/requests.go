package web

import (
	"encoding/csv"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/catalogue"
	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
)

// filter is the filter form of requests and of dead letters.
type filter struct {
	Company, Type, Category, State, Cause, Stage, Text, Since, Until, Order string
	Resolved                                                                bool
	Companies                                                               []choice
	Types                                                                   []choice
	States                                                                  []string
	Causes                                                                  []string
	Stages                                                                  []string

	company      []int64
	since, until *timestamppb.Timestamp
}

// readFilter reads the filter form.
func (c *call) readFilter() (f filter, err error) {
	get := c.form.Get
	f = filter{
		Company: get("company"), Type: get("type"), Category: get("category"), State: get("state"), Cause: get("cause"), Stage: get("stage"), Text: get("text"),
		Since: get("since"), Until: get("until"), Order: get("order"), Resolved: get("resolved") != "",
		States: []string{"attention", "failed", "open", "succeeded", "ignored"}, Causes: []string{"company-data", "erp", "procore", "limits", "tieback", "unknown"},
		Stages: []string{"fetcher", "export", "sync", "import", "unlink", "reset", "status-reporter"},
	}
	for _, e := range catalogue.Table {
		f.Types = append(f.Types, choice{e.Name, e.Label()})
	}
	slices.SortFunc(f.Types, func(a, b choice) int { return strings.Compare(a.Label, b.Label) })
	if f.Company != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(f.Company), 10, 64)
		if err != nil || n <= 0 {
			return f, invalid("company must be an id of Procore, a number")
		}
		f.company = []int64{n}
	}
	if f.since, err = c.time(f.Since); err != nil {
		return f, err
	}
	if f.until, err = c.time(f.Until); err != nil {
		return f, err
	}
	if f.since != nil && f.until != nil && !f.since.AsTime().Before(f.until.AsTime()) {
		return f, invalid("the time From must be before the time To")
	}
	f.Companies = c.s.companies(c.r.Context())
	return f, nil
}

// time reads a time of a form, in the page's time zone; "": nil.
func (c *call) time(text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, c.zone); err == nil {
			return timestamppb.New(at), nil
		}
	}
	return nil, invalid("a time must look like 2026-11-30T07:39")
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func (f filter) requests() *v1.ListRequestsRequest {
	req := &v1.ListRequestsRequest{
		CompanyIds: f.company, Types: list(f.Type), Categories: list(f.Category), States: list(f.State), Since: f.since, Until: f.until, Text: f.Text, Order: v1.Order_ORDER_ATTENTION_FIRST,
	}
	if f.Order == "newest" {
		req.Order = v1.Order_ORDER_NEWEST_FIRST
	}
	return req
}

// requestList is the page of requests.
type requestList struct {
	Filter   filter
	Requests []*v1.RequestRow
	Size     int    // requests on a full page
	Next     string // the next page; there can be one after a page that is not full: a search reads a part of the index at a time
	First    bool   // the first page
	Until    *timestamppb.Timestamp
	CSV      string
}

const requestPage = 50

func (s *site) listRequests(c *call) error {
	f, err := c.readFilter()
	if err != nil {
		return err
	}
	req := f.requests()
	req.PageSize, req.PageToken = requestPage, c.form.Get("after")
	res, err := s.api.Requests.ListRequests(c.r.Context(), req)
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "requests", "requests", "Requests", requestList{
		Filter: f, Requests: copied(res).GetRequests(), Size: requestPage, Next: res.GetNextPageToken(), First: req.GetPageToken() == "", Until: res.GetIndexedUntil(),
		CSV: withQuery("/requests.csv", c.r.URL.Query(), "after", "", "done", "", "tz", ""),
	})
}

const (
	csvPage = 1000
	maxCSV  = 100_000 // rows
)

// exportRequests sends the list as CSV. If the list can't be read to its end, the connection is closed, so that a part of it
// is not taken for all.
func (s *site) exportRequests(c *call) error {
	f, err := c.readFilter()
	if err != nil {
		return err
	}
	req := f.requests()
	req.PageSize = csvPage
	res, err := s.api.Requests.ListRequests(c.r.Context(), req)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="requests-`+s.now().In(c.zone).Format("2006-01-02-1504")+`.csv"`)
	out := csv.NewWriter(c.w)
	zone := c.zone.String()
	_ = out.Write([]string{"company id", "company", "request id", "type", "category", "outcome", "record", "reason", "stage", "created (" + zone + ")", "ended (" + zone + ")", "due (" + zone + ")", "dead letter"})
	at := func(t *timestamppb.Timestamp) string {
		if t == nil {
			return ""
		}
		return t.AsTime().In(c.zone).Format(time.DateTime)
	}
	for rows := 0; ; {
		for _, r := range copied(res).GetRequests() {
			dead := ""
			if r.GetDeadLetter() != 0 {
				dead = id(r.GetDeadLetter())
			}
			cells := []string{
				id(r.GetCompanyId()), r.GetCompanyName(), id(r.GetRequestId()), typeLabel(r.GetType()), r.GetCategory(), stateLabel(r.GetState()), r.GetRecord(), r.GetReason(), r.GetStage(),
				at(r.GetCreated()), at(r.GetEnded()), at(r.GetDue()), dead,
			}
			for i := range cells {
				cells[i] = safeCell(cells[i])
			}
			_ = out.Write(cells)
			rows++
		}
		out.Flush()
		if out.Error() != nil || res.GetNextPageToken() == "" {
			return nil
		}
		if rows >= maxCSV {
			_ = out.Write([]string{"More than " + count(maxCSV) + " rows: choose a shorter time."})
			out.Flush()
			return nil
		}
		req.PageToken = res.GetNextPageToken()
		if res, err = s.api.Requests.ListRequests(c.r.Context(), req); err != nil {
			s.log.Error("export not finished", zap.Error(err))
			panic(http.ErrAbortHandler)
		}
	}
}

// safeCell returns a cell that no spreadsheet takes for a formula.
func safeCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// requestData is the page of a request.
type requestData struct {
	*v1.Timeline
	Payload bool // included
	Asked   bool // Procore was asked
	Live    bool // the page refreshes itself
}

func (s *site) timeline(c *call, req *v1.GetRequestRequest) (*v1.Timeline, error) {
	company, err := c.number("company")
	if err != nil {
		return nil, err
	}
	request, err := c.number("id")
	if err != nil {
		return nil, err
	}
	req.CompanyId, req.RequestId = company, request
	res, err := s.api.Requests.GetRequest(c.r.Context(), req)
	if err != nil {
		return nil, err
	}
	t := copied(res).GetTimeline()
	if t.GetRequest() == nil {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no request "+id(request)+" of company "+id(company)))
	}
	return t, nil
}

func (s *site) showRequest(c *call) error {
	d := requestData{Asked: c.form.Get("ask") != ""}
	if company, err := c.number("company"); err == nil {
		d.Payload = c.form.Get("payload") != "" && c.caller.May(access.SeePayload, company)
	}
	t, err := s.timeline(c, &v1.GetRequestRequest{IncludePayload: d.Payload, AskProcore: d.Asked})
	if err != nil {
		return err
	}
	d.Timeline = t
	d.Live = t.GetCurrent() != nil && !d.Asked && !d.Payload // a refresh would ask Procore again
	return c.render(http.StatusOK, "request", "requests", "Request "+id(t.GetRequest().GetRequestId()), d)
}

func (s *site) confirmTry(c *call) error {
	t, err := s.timeline(c, &v1.GetRequestRequest{})
	if err != nil {
		return err
	}
	if err := c.mayAct(t.GetRequest().GetCompanyId()); err != nil {
		return err
	}
	return c.render(http.StatusOK, "try", "requests", "Try now", requestData{Timeline: t})
}

func (s *site) try(c *call) error {
	company, err := c.number("company")
	if err != nil {
		return err
	}
	request, err := c.number("id")
	if err != nil {
		return err
	}
	if err := c.mayAct(company); err != nil {
		return err
	}
	res, err := s.api.Requests.TryNow(c.r.Context(), &v1.TryNowRequest{CompanyId: company, RequestId: request})
	if err != nil {
		return err
	}
	text := visible(res.GetText())
	if text == "" && res.GetStarted() {
		text = "The next attempt starts now."
	} else if text == "" {
		text = "No attempt was started."
	}
	c.see("/requests/"+id(company)+"/"+id(request), notice{Text: sentence(text), Failed: !res.GetStarted()})
	return nil
}

// auditData is the page of an audit.
type auditData struct {
	Filter filter
	*v1.AuditResponse
	Name                        string
	Done                        bool
	Missing, Explained, Counted []*v1.AuditFinding // Counted are left out of the page: they are accounted for and have no reason
	Classes                     []classCount
	More                        int
}

type classCount struct {
	Class string
	Count int32
}

const maxFindings = 500

func (s *site) audit(c *call) error {
	f, err := c.readFilter()
	if err != nil {
		return err
	}
	if f.Since == "" {
		at := s.now().In(c.zone)
		f.Since = at.AddDate(0, 0, -1).Format("2006-01-02T15:04")
		return c.render(http.StatusOK, "audit", "audit", "Audit", auditData{Filter: f})
	}
	if f.company == nil {
		return invalid("choose a company")
	}
	res, err := s.api.Reconciliation.Audit(c.r.Context(), &v1.AuditRequest{CompanyId: f.company[0], Since: f.since, Until: f.until})
	if err != nil {
		return err
	}
	d := auditData{Filter: f, AuditResponse: copied(res), Done: true, Name: s.nameOf(c, f.company[0])}
	for _, name := range sorted(res.GetCounts()) {
		d.Classes = append(d.Classes, classCount{visible(name), res.GetCounts()[name]})
	}
	for _, finding := range d.GetFindings() {
		switch {
		case len(d.Missing)+len(d.Explained) >= maxFindings:
			d.More++
		case !finding.GetAccountedFor():
			d.Missing = append(d.Missing, finding)
		case finding.GetWhy() != "":
			d.Explained = append(d.Explained, finding)
		}
	}
	return c.render(http.StatusOK, "audit", "audit", "Audit", d)
}

// query returns the filter as the query of a page.
func (f filter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"company": f.Company, "type": f.Type, "category": f.Category, "cause": f.Cause, "stage": f.Stage, "text": f.Text, "since": f.Since, "until": f.Until} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}
