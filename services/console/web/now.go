package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/status"
)

const (
	maxAttention = 30  // on the page Now
	maxCompanies = 60  // on the page Now
	companyPage  = 100 // on a page of all companies
)

func id[N int64 | uint64](n N) string { return strconv.FormatInt(int64(n), 10) } //nolint:gosec // ids have 63 bits

// overview is what Now and a company show of the overview.
type overview struct {
	*v1.Overview
	Attention []attention
	More      int // attention that is left out
	Companies []*v1.CompanyState
	Others    int // companies that are left out
	Series    []*v1.Series
	Hour      []*v1.Series // of the page's company: quota and fairness
	Known     bool         // everything was read: no attention means that nothing needs any
}

// attention is an Attention with a link that helps.
type attention struct {
	*v1.Attention
	Link, LinkText string
	Company        string // its name
}

func (s *site) overview(o *v1.Overview, company int64) overview {
	is := overview{Overview: o, Known: o.GetAt() != nil && len(o.GetUnread()) == 0}
	known := map[int64]string{}
	for _, c := range o.GetCompanies() {
		known[c.GetId()] = companyName(c.GetId(), c.GetName())
	}
	for _, a := range o.GetAttention() {
		if len(is.Attention) == maxAttention {
			is.More = len(o.GetAttention()) - maxAttention
			break
		}
		link, text := helps(a, company)
		name := ""
		if a.GetCompanyId() != 0 && company == 0 {
			name = cmp.Or(known[a.GetCompanyId()], companyName(a.GetCompanyId(), ""))
		}
		is.Attention = append(is.Attention, attention{a, link, text, name})
	}
	is.Companies = slices.SortedStableFunc(slices.Values(o.GetCompanies()), func(a, b *v1.CompanyState) int { return cmp.Compare(urgency(b), urgency(a)) })
	if len(is.Companies) > maxCompanies {
		is.Companies, is.Others = is.Companies[:maxCompanies], len(is.Companies)-maxCompanies
	}
	for _, one := range o.GetSeries() {
		if company != 0 && one.GetCompanyId() == company {
			is.Hour = append(is.Hour, one)
		}
	}
	for _, name := range []string{"received", "succeeded", "failed"} {
		for _, one := range o.GetSeries() {
			if one.GetName() == name {
				is.Series = append(is.Series, one)
			}
		}
	}
	return is
}

// urgency orders companies: those that wait for a person first, then those with dead letters, troubles, failures.
func urgency(c *v1.CompanyState) int {
	switch {
	case c.GetWaitingFor() == "person" || c.GetDeadLetters() > 0:
		return 4
	case c.GetWaitingFor() != "" || len(c.GetTroubles()) > 0 || len(c.GetPaused()) > 0:
		return 3
	case c.GetFailed() > 0 || c.GetRetrying() > 0:
		return 2
	case c.GetOpen() > 0:
		return 1
	}
	return 0
}

// actionLabels are the labels of the buttons, by the kind of an action.
var actionLabels = map[string]string{
	status.ActResolve: "See the dead letters", status.ActRequests: "See the request", status.ActCompany: "See the companies", status.ActCheck: "Run the checks",
	status.ActLoss: "Audit the time of the loss", status.ActStart: "See what waits", status.ActResume: "Open the company",
}

// helps returns where a person can act on something that needs attention; on the page of a company, not the page itself.
func helps(a *v1.Attention, on int64) (link, text string) {
	link = a.GetAction().GetPage()
	if !strings.HasPrefix(link, "/") || strings.HasPrefix(link, "//") || on != 0 && link == "/companies/"+id(on) {
		return "", ""
	}
	return link, cmp.Or(actionLabels[a.GetAction().GetKind()], "Open")
}

// showNow is the first page: what needs attention, the stages and the companies.
func (s *site) showNow(c *call) error {
	return c.share("now", "now", func(ctx context.Context) (string, any, error) {
		res, err := s.api.Overview.GetOverview(ctx, &v1.GetOverviewRequest{})
		if err != nil {
			return "", nil, err
		}
		return "Now", s.overview(copied(res).GetOverview(), 0), nil
	})
}

// companyList is a page of companies.
type companyList struct {
	Companies  []*v1.CompanyState
	Text       string
	Page, Last int
	Total      int
}

func (s *site) listCompanies(c *call) error {
	res, err := s.api.Companies.ListCompanies(c.r.Context(), &v1.ListCompaniesRequest{})
	if err != nil {
		return err
	}
	d := companyList{Text: c.form.Get("q")}
	all := copied(res).GetCompanies()
	words := strings.Fields(strings.ToLower(d.Text))
	all = slices.DeleteFunc(all, func(c *v1.CompanyState) bool {
		return slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(strings.ToLower(c.GetName())+" "+id(c.GetId()), w) })
	})
	slices.SortStableFunc(all, func(a, b *v1.CompanyState) int {
		return cmp.Or(cmp.Compare(urgency(b), urgency(a)), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetId(), b.GetId()))
	})
	d.Total, d.Last = len(all), max(0, len(all)-1)/companyPage
	d.Page = min(page(c.form.Get("page")), d.Last)
	d.Companies = all[d.Page*companyPage : min(len(all), (d.Page+1)*companyPage)]
	return c.render(http.StatusOK, "companies", "companies", "Companies", d)
}

// page returns the number of a page, from 0.
func page(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// companyData is the page of a company.
type companyData struct {
	overview
	*v1.CompanyState
	Setup *v1.GetCompanyResponse // nil: it is not in the companies file
	Found []*v1.Finding          // of the last checks: problems and warnings
}

// state returns the overview of one company.
func (s *site) state(ctx context.Context, company int64) (companyData, error) {
	res, err := s.api.Overview.GetOverview(ctx, &v1.GetOverviewRequest{CompanyIds: []int64{company}})
	if err != nil {
		return companyData{}, err
	}
	d := companyData{overview: s.overview(copied(res).GetOverview(), company)}
	for _, is := range d.Overview.GetCompanies() {
		if is.GetId() == company {
			d.CompanyState = is
		}
	}
	if d.CompanyState.GetServed() {
		if err := s.setup(ctx, &d); err != nil {
			d.Unread = append(d.Unread, visible("the company's setup: "+err.Error()))
		}
	}
	if d.CompanyState != nil {
		return d, nil
	}
	return d, connect.NewError(connect.CodeNotFound, errors.New("there is no company "+id(company)+" that you may see"))
}

// setup adds what is known of a company's setup.
func (s *site) setup(ctx context.Context, d *companyData) error {
	res, err := s.api.Companies.GetCompany(ctx, &v1.GetCompanyRequest{CompanyId: d.Id})
	if err != nil {
		return err
	}
	d.Setup = copied(res)
	for _, f := range d.Setup.GetChecks().GetFindings() {
		if f.GetLevel() == "problem" || f.GetLevel() == "warning" {
			d.Found = append(d.Found, f)
		}
	}
	sortFindings(d.Found)
	return nil
}

// sortFindings sorts findings, the worst first.
func sortFindings(all []*v1.Finding) {
	rank := []string{"problem", "warning", "note", "ok"}
	slices.SortStableFunc(all, func(a, b *v1.Finding) int {
		return cmp.Compare(slices.Index(rank, a.GetLevel()), slices.Index(rank, b.GetLevel()))
	})
}

func (s *site) showCompany(c *call) error {
	company, err := c.number("company")
	if err != nil {
		return err
	}
	return c.share("company", "companies", func(ctx context.Context) (string, any, error) {
		d, err := s.state(ctx, company)
		if err != nil {
			return "", nil, err
		}
		return companyName(d.Id, d.Name), d, nil
	})
}

// checks is the page of doctor's checks.
type checks struct {
	ID   int64
	Name string
	*v1.CheckResponse
}

func (s *site) checkCompany(c *call) error {
	company, err := c.number("company")
	if err != nil {
		return err
	}
	res, err := s.api.Companies.Check(c.r.Context(), &v1.CheckRequest{CompanyIds: []int64{company}})
	if err != nil {
		return err
	}
	res = copied(res)
	sortFindings(res.GetFindings())
	return c.render(http.StatusOK, "checks", "companies", "Checks", checks{ID: company, Name: s.nameOf(c, company), CheckResponse: res})
}

// nameOf returns a company's name, as far as it is known.
func (s *site) nameOf(c *call, company int64) string {
	for _, is := range s.companies(c.r.Context()) {
		if is.Value == id(company) {
			return is.Label
		}
	}
	return companyName(company, "")
}

// links is the page of a company's links.
type links struct {
	ID     int64
	Name   string
	Type   string
	Next   string
	Links  []*v1.Link
	Report *v1.LinkReport // absent: not compared
}

const maxLinks = 200 // on a page

func (s *site) listLinks(c *call) error {
	company, err := c.number("company")
	if err != nil {
		return err
	}
	d := links{ID: company, Name: s.nameOf(c, company), Type: c.form.Get("type")}
	if c.form.Get("compare") != "" {
		res, err := s.api.Companies.CheckLinks(c.r.Context(), &v1.CheckLinksRequest{CompanyId: company})
		if err != nil {
			return err
		}
		d.Report = copied(res).GetReport()
	} else {
		res, err := s.api.Companies.ListLinks(c.r.Context(), &v1.ListLinksRequest{CompanyId: company, ItemType: d.Type, PageSize: maxLinks, PageToken: c.form.Get("after")})
		if err != nil {
			return err
		}
		d.Links, d.Next = copied(res).GetLinks(), res.GetNextPageToken()
	}
	return c.render(http.StatusOK, "links", "companies", "Links", d)
}

// action is what can be done to a company.
type action struct {
	Title, Text, Button string
	Reason              bool // required
	Stage               bool // can be for one stage
	do                  func(c *call, company int64) (notice, error)
}

var actions = map[string]action{
	"pause": {
		Title: "Pause", Button: "Pause", Reason: true, Stage: true,
		Text: "Nothing of this company is processed until it is resumed. What waits is kept, and new requests are received. Deadlines still apply.",
		do: func(c *call, company int64) (notice, error) {
			_, err := c.s.api.Companies.Pause(c.r.Context(), &v1.PauseRequest{CompanyId: company, Stage: c.form.Get("stage"), Reason: c.form.Get("reason")})
			return notice{Text: "The company is paused: " + stageLabel(c.form.Get("stage")) + "."}, err
		},
	},
	"resume": {
		Title: "Resume", Button: "Resume", Stage: true,
		Text: "What waits is processed, the oldest first.",
		do: func(c *call, company int64) (notice, error) {
			_, err := c.s.api.Companies.Resume(c.r.Context(), &v1.ResumeRequest{CompanyId: company, Stage: c.form.Get("stage")})
			return notice{Text: "The company is resumed: " + stageLabel(c.form.Get("stage")) + "."}, err
		},
	},
	"sweep": {
		Title: "Sweep now", Button: "Sweep now",
		Text: "Reads Procore’s lists and brings in requests that never arrived. It costs Procore calls.",
		do: func(c *call, company int64) (notice, error) {
			res, err := c.s.api.Reconciliation.Sweep(c.r.Context(), &v1.SweepRequest{CompanyId: company})
			if err != nil {
				return notice{}, err
			}
			res = copied(res)
			n := notice{Text: "The sweep found " + plural(len(res.GetFoundRequestIds()), "request", "requests") + " that had not arrived, and closed " +
				plural(len(res.GetClosedRequestDetailIds()), "request detail", "request details") + ". It cost " + plural(res.GetProcoreCalls(), "Procore call", "Procore calls") + "."}
			for _, request := range res.GetFoundRequestIds() {
				n.Lines = append(n.Lines, noticeLine{Link: "/requests/" + id(company) + "/" + id(request), LinkText: "Request " + id(request)})
			}
			if failing := res.GetFailingDeliveries(); failing > 0 {
				n.Lines = append(n.Lines, noticeLine{Text: plural(failing, "delivery fails", "deliveries fail") + " at Procore."})
			}
			for _, text := range append(res.GetSkipped(), res.GetNotes()...) {
				n.Lines = append(n.Lines, noticeLine{Text: text})
			}
			return n, nil
		},
	},
	"rebuild": {
		Title: "Store Procore’s links", Button: "Store the links",
		Text: "Reads which records are linked in Procore, and stores the links that are missing here. Different origin ids are not replaced. It costs Procore calls.",
		do: func(c *call, company int64) (notice, error) {
			res, err := c.s.api.Companies.RebuildLinks(c.r.Context(), &v1.RebuildLinksRequest{CompanyId: company})
			if err != nil {
				return notice{}, err
			}
			saved, r := 0, copied(res).GetReport()
			for _, change := range r.GetChanges() {
				if change.GetSaved() {
					saved++
				}
			}
			n := notice{Text: plural(saved, "link is", "links are") + " stored, of " + plural(len(r.GetChanges()), "difference", "differences") + "."}
			for _, list := range r.GetUnread() {
				n.Failed = true
				n.Lines = append(n.Lines, noticeLine{Text: "Not read: " + list.GetList() + ": " + list.GetWhy()})
			}
			return n, nil
		},
	},
}

// stages are the workers.
var stages = []string{"export", "sync", "import", "unlink", "reset"}

// confirmation is the page before an action.
type confirmation struct {
	action
	ID           int64
	Name, Action string
	Chosen       string // stage
	Paused       []*v1.PausedStage
	Stages       []string
}

func (s *site) action(c *call) (action, int64, error) {
	company, err := c.number("company")
	if err != nil {
		return action{}, 0, err
	}
	a, ok := actions[c.r.PathValue("action")]
	if !ok {
		return a, 0, connect.NewError(connect.CodeNotFound, errors.New("there is no such page"))
	}
	return a, company, c.mayAct(company)
}

func (s *site) confirmAction(c *call) error {
	a, company, err := s.action(c)
	if err != nil {
		return err
	}
	d := confirmation{action: a, ID: company, Name: s.nameOf(c, company), Action: c.r.PathValue("action"), Chosen: c.form.Get("stage"), Stages: stages}
	return c.render(http.StatusOK, "confirm", "companies", a.Title, d)
}

func (s *site) act(c *call) error {
	a, company, err := s.action(c)
	if err != nil {
		return err
	}
	if a.Reason && strings.TrimSpace(c.form.Get("reason")) == "" {
		return invalid("a reason is required: other operators see it")
	}
	n, err := a.do(c, company)
	if err != nil {
		return err
	}
	c.see("/companies/"+id(company), n)
	return nil
}
