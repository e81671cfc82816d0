package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/setup"
)

// checkCompany looks at one company from its ERP to its hook; nil: its calls of Procore are not taken.
func (d *Doctor) checkCompany(ctx context.Context, r *report, c *company.Company) *setup.API {
	d.checkZone(r, c)
	checkSince(r, c)
	erp := d.checkConnector(ctx, r, c)
	ctx, cancel := context.WithTimeout(ctx, 2*d.Patience)
	defer cancel()
	client, err := d.Procore(company.Set{c.ID: c})
	if err != nil {
		r.problem("procore", "correct the variable", "%v", err)
		return nil
	}
	session, err := client.Company(c.ID)
	if err != nil {
		r.problem("procore", "", "%v", err)
		return nil
	}
	api := &setup.API{Session: session, Company: c.ID, Backoff: 200 * time.Millisecond, Waiting: func(time.Duration, string) {}}
	if !d.checkAccess(ctx, r, api) {
		return nil
	}
	d.checkConnection(ctx, r, api, c, erp)
	d.checkHook(ctx, r, api, c)
	d.checkIngest(ctx, r, c)
	return api
}

// checkZone says in which time zone the company's dates are read, which decides the period that they fall into.
func (d *Doctor) checkZone(r *report, c *company.Company) {
	const check = "time zone"
	if c.Zone == time.UTC {
		if f, err := company.Edit(d.Settings.Companies); err != nil || f.Entry(c.ID) == nil || f.Entry(c.ID).Get("time_zone") == "" {
			r.warn(check, "put time_zone: America/Chicago, or whichever IANA name is right, into the company's entry of the companies file",
				"time_zone is not in the companies file: dates are read in UTC, so an approval late in the day may fall into the next period")
			return
		}
	}
	r.ok(check, "dates and times are those of %s; it is now %s there", c.Zone, time.Now().In(c.Zone).Format("15:04 MST"))
}

// checkSince says from when on the company's requests are worked.
func checkSince(r *report, c *company.Company) {
	const check = "since"
	switch {
	case c.Since.IsZero():
		r.ok(check, "all requests that Procore shows are worked, however old: the company's entry has no since")
	case time.Until(c.Since) > time.Minute:
		r.problem(check, "correct since in the company's entry of the companies file",
			"since is in the future: nothing that is clicked before %s is worked", c.Since.UTC().Format(time.RFC3339))
	default:
		r.ok(check, "what was clicked before %s is not worked", c.Since.UTC().Format(time.RFC3339))
	}
}

// checkConnector asks the ERP's connector what it can do; nil: it does not say.
func (d *Doctor) checkConnector(ctx context.Context, r *report, c *company.Company) *tiebackv1.CapabilitiesResponse {
	const check = "connector"
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	open, known := d.Drivers[c.Driver]
	if !known {
		r.problem(check, "correct connector.driver in the companies file", "there is no driver %q", c.Driver)
		return nil
	}
	driver, err := open(ctx, c.ID, c.Settings())
	if err != nil {
		r.problem(check, "correct the connector's settings in the companies file", "%v", err)
		return nil
	}
	erp := connector.New(driver, connector.Config{Company: c.ID})
	defer func() { _ = erp.Close() }() // it was only asked
	caps, err := erp.Capabilities(ctx)
	if err != nil {
		r.problem(check, "start it, or correct its settings in the companies file; tieback connector verify says more", "it does not answer: %v", err)
		return nil
	}
	takes, lists := 0, 0
	for _, e := range caps.Entities {
		if e.Put {
			takes++
		}
		if e.List {
			lists++
		}
	}
	r.ok(check, "%s %s (driver %s): takes %d kinds of records, lists %d", caps.Name, caps.Version, c.Driver, takes, lists)
	return caps
}

// checkAccess makes the call that needs what all others need, and reads Procore's clock off it.
func (d *Doctor) checkAccess(ctx context.Context, r *report, api *setup.API) bool {
	const check = "procore"
	asked := time.Now()
	now, err := api.Clock(ctx)
	switch {
	case errors.Is(err, setup.ErrForbidden):
		r.problem(check, "install the app for the company, with its permissions", "%v", err)
		return false
	case err != nil:
		r.problem(check, "correct what it names; if Procore does not answer, see its status page and this machine's way out", "%v", err)
		return false
	}
	r.ok(check, "the token is good and the permissions suffice to read")
	if !now.IsZero() { // it is to the second
		d.clock(r, "procore clock", "Procore's", now.Add(time.Second/2), asked.Add(-time.Second), "set this machine's clock by NTP: deadlines are told by it")
	}
	return true
}

func (d *Doctor) checkConnection(ctx context.Context, r *report, api *setup.API, c *company.Company, erp *tiebackv1.CapabilitiesResponse) {
	const check = "erp connection"
	repair := fmt.Sprintf("tieback setup --company %d", c.ID)
	if c.StandardCostCodeListID == 0 {
		r.warn(check, repair, "standard_cost_code_list_id is not in the companies file: standard cost codes can't be synced")
	}
	has, shown, err := api.Connection(ctx)
	switch {
	case err != nil:
		r.problem(check, "", "%v", err)
	case !shown:
		r.ok(check, "Procore does not show it; the companies file has standard cost code list %d", c.StandardCostCodeListID)
	case has == nil:
		r.problem(check, repair, "there is none in Procore")
	case has.CodeList != 0 && c.StandardCostCodeListID != 0 && has.CodeList != c.StandardCostCodeListID:
		r.problem(check, repair, "Procore's standard cost code list is %d, the companies file says %d", has.CodeList, c.StandardCostCodeListID)
	default:
		r.ok(check, "it is there, standard cost code list %d", has.CodeList)
		checkMetadata(r, has.Metadata, c, erp, repair)
	}
}

func checkMetadata(r *report, has map[string]any, c *company.Company, erp *tiebackv1.CapabilitiesResponse, repair string) {
	const check = "erp metadata"
	if erp == nil {
		return
	}
	want, err := metadata.Of(erp, c.MetadataFile)
	switch {
	case err != nil:
		r.problem(check, "correct the file", "%v", err)
	case has == nil: // not shown
	case !setup.SameMetadata(has, want):
		r.warn(check, repair+", or Sync Metadata in Procore", "Procore has not what the connector and metadata_file say")
	default:
		r.ok(check, "it is what the connector and metadata_file say")
	}
}

// checkHook looks at how Procore tells us of clicks.
func (d *Doctor) checkHook(ctx context.Context, r *report, api *setup.API, c *company.Company) {
	const check = "hook"
	repair := fmt.Sprintf("tieback setup --company %d", c.ID)
	namespace := c.WebhookNamespace
	if namespace == "" {
		namespace = setup.Namespace
	}
	hooks, err := api.Hooks(ctx, namespace)
	switch {
	case err != nil:
		r.problem(check, "give the app the permission Webhooks API at Standard", "%v", err)
		return
	case len(hooks) == 0:
		r.problem(check, repair+" --url https://…", "there is none of namespace %s: no click reaches us", namespace)
		return
	case len(hooks) > 1:
		r.warn(check, repair, "there are %d of namespace %s, one is enough: each event comes as often", len(hooks), namespace)
	}
	for _, h := range hooks {
		d.checkOneHook(r, h, c, repair)
	}
}

func (d *Doctor) checkOneHook(r *report, h setup.Hook, c *company.Company, repair string) {
	const check = "hook"
	bad := len(r.all)
	path := setup.Destination("", c.ID)
	switch {
	case !strings.HasSuffix(h.URL, path):
		r.problem(check, repair, "%d delivers to %s, where ingest does not listen (%s)", h.ID, h.URL, path)
	case c.URL != "" && h.URL != setup.Destination(c.URL, c.ID):
		r.problem(check, repair, "%d delivers to %s, the companies file says %s", h.ID, h.URL, c.URL)
	}
	if !slices.Contains([]string{"v2", "v3", "v4", "v2.0", "v3.0", "v4.0"}, h.APIVersion) {
		r.warn(check, repair+" --api-version "+setup.APIVersion, "%d sends version %q, which this version of Tieback does not know", h.ID, h.APIVersion)
	}
	sends, shown := d.sends(h, c)
	if shown && !sends {
		r.problem(check, repair, "%d sends no webhook token that is in the companies file: all its deliveries are refused", h.ID)
	}
	switch n := h.Listens(); {
	case n == 0:
		r.problem("trigger", repair, "hook %d has none for ERP Requests / create: no click reaches us", h.ID)
	case n > 1:
		r.warn("trigger", repair, "hook %d has %d for ERP Requests / create, one is enough", h.ID, n)
	default:
		r.ok("trigger", "hook %d has one for ERP Requests / create", h.ID)
	}
	switch {
	case h.Failing > 0:
		r.problem("deliveries", "see what ingest answers: is it reachable at the address, and running? The sweep brings in what Procore gives up", "%d of hook %d fail and are made again", h.Failing, h.ID)
	case h.Failing < 0:
		r.warn("deliveries", "", "Procore does not say how the deliveries of hook %d go", h.ID)
	default:
		r.ok("deliveries", "none of hook %d is failing", h.ID)
	}
	if !slices.ContainsFunc(r.all[bad:], func(f Finding) bool { return f.Check == check }) {
		hidden := ""
		if _, masked := h.End(); !shown {
			hidden = "; Procore does not show which token it sends"
		} else if masked {
			hidden = "; of its token Procore shows only the end, which is right"
		}
		r.ok(check, "%d delivers to %s%s", h.ID, h.URL, hidden)
	}
}

// sends reports whether a hook sends a token of the companies file. Shown is false where Procore does not show it, or
// the file can't be read, which is a finding of its own.
func (d *Doctor) sends(h setup.Hook, c *company.Company) (sends, shown bool) {
	for _, token := range d.tokens(c) {
		one, visible := h.Sends(token)
		sends, shown = sends || one, shown || visible
	}
	return sends, shown
}

// tokens are the company's webhook tokens, the newest last; none where the companies file can't be read.
func (d *Doctor) tokens(c *company.Company) []company.Secret {
	f, err := company.Edit(d.Settings.Companies)
	if err != nil || f.Entry(c.ID) == nil {
		return nil
	}
	tokens, err := f.Entry(c.ID).Tokens()
	if err != nil {
		return nil
	}
	return tokens
}

// checkIngest asks ingest, at the address that Procore calls, whether it takes the webhook token.
func (d *Doctor) checkIngest(ctx context.Context, r *report, c *company.Company) {
	const check = "ingest"
	if c.URL == "" {
		r.warn(check, fmt.Sprintf("tieback setup --company %d --url https://…", c.ID), "its public address is not in the companies file (url), so it was not asked")
		return
	}
	tokens := d.tokens(c)
	if len(tokens) == 0 {
		return // reported already
	}
	takes, err := setup.Probe(ctx, d.Client, setup.Destination(c.URL, c.ID), c.ID, tokens[len(tokens)-1])
	switch {
	case err != nil:
		r.warn(check, "Procore must reach it: try from outside, look at DNS, certificate, proxy and whether ingest runs", "it could not be asked at %s from here: %v", c.URL, err)
	case !takes:
		r.problem(check, "restart it if the company is new; does it read this companies file, and may it read the file of the tokens?", "it answers at %s and refuses the company's webhook token", c.URL)
	default:
		r.ok(check, "it answers at %s and takes the webhook token; that it can store a delivery was not tried (see broker, streams, room)", c.URL)
	}
}
