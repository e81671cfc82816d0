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
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// checkCompany checks one company. It returns nil if Procore refuses its calls.
func (d *Doctor) checkCompany(ctx context.Context, r *findings, c *company.Company) *connection.API {
	d.checkZone(r, c)
	checkSince(r, c)
	erp := d.checkConnector(ctx, r, c)
	ctx, cancel := context.WithTimeout(ctx, 2*d.Timeout)
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
	api := &connection.API{Session: session, Company: c.ID, Backoff: 200 * time.Millisecond, Waiting: func(time.Duration, string) {}}
	if !d.checkAccess(ctx, r, api) {
		return nil
	}
	d.checkConnection(ctx, r, api, c, erp)
	d.checkHook(ctx, r, api, c)
	d.checkIngest(ctx, r, c)
	return api
}

// checkZone checks the time zone of the company's dates, which determines their accounting period.
func (d *Doctor) checkZone(r *findings, c *company.Company) {
	const check = "time zone"
	if c.Zone == time.UTC {
		if f, err := company.Edit(d.Settings.Companies); err != nil || f.Entry(c.ID) == nil || f.Entry(c.ID).Get("time_zone") == "" {
			r.warn(check, "add time_zone with an IANA name, such as America/Chicago, to the company's entry of the companies file",
				"time_zone is not in the companies file: dates are read in UTC, so an approval late in the day may fall into the next period")
			return
		}
	}
	r.ok(check, "dates and times are in %s, where it is now %s", c.Zone, time.Now().In(c.Zone).Format("15:04 MST"))
}

// checkSince checks the time before which the company's requests are not processed.
func checkSince(r *findings, c *company.Company) {
	const check = "since"
	switch {
	case c.Since.IsZero():
		r.ok(check, "the company's entry has no since: all requests that Procore lists are processed, however old")
	case time.Until(c.Since) > time.Minute:
		r.problem(check, "correct since in the company's entry of the companies file",
			"since is in the future: no request that is created before %s is processed", c.Since.UTC().Format(time.RFC3339))
	default:
		r.ok(check, "requests that were created before %s are not processed", c.Since.UTC().Format(time.RFC3339))
	}
}

// checkConnector reads the capabilities of the ERP's connector. It returns nil if there is no answer.
func (d *Doctor) checkConnector(ctx context.Context, r *findings, c *company.Company) *tiebackv1.CapabilitiesResponse {
	const check = "connector"
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
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
	defer func() { _ = erp.Close() }() // nothing was written
	caps, err := erp.Capabilities(ctx)
	if err != nil {
		r.problem(check, "start it, or correct its settings in the companies file; tieback connector verify says more", "it does not answer: %v", err)
		return nil
	}
	puts, lists := 0, 0
	for _, e := range caps.Entities {
		if e.Put {
			puts++
		}
		if e.List {
			lists++
		}
	}
	r.ok(check, "%s %s (driver %s): books %d record types, lists %d", caps.Name, caps.Version, c.Driver, puts, lists)
	return caps
}

// checkAccess makes a call that needs a token and the app's basic permissions, and compares Procore's clock with ours.
func (d *Doctor) checkAccess(ctx context.Context, r *findings, api *connection.API) bool {
	const check = "procore"
	began := time.Now()
	now, err := api.Clock(ctx)
	switch {
	case errors.Is(err, connection.ErrForbidden):
		r.problem(check, "install the app for the company, with its permissions", "%v", err)
		return false
	case err != nil:
		r.problem(check, "correct what the error names; if Procore does not answer, see its status page and this machine's network", "%v", err)
		return false
	}
	r.ok(check, "Procore accepts the token, and the app may read")
	if !now.IsZero() { // in whole seconds
		d.clock(r, "procore clock", "Procore's", now.Add(time.Second/2), began.Add(-time.Second), "synchronize this machine's clock by NTP: deadlines depend on it")
	}
	return true
}

func (d *Doctor) checkConnection(ctx context.Context, r *findings, api *connection.API, c *company.Company, erp *tiebackv1.CapabilitiesResponse) {
	const check = "erp connection"
	repair := fmt.Sprintf("tieback setup --company %d", c.ID)
	if c.StandardCostCodeListID == 0 {
		r.warn(check, repair, "standard_cost_code_list_id is not in the companies file, so standard cost codes can't be synced")
	}
	conn, shown, err := api.ERP(ctx)
	switch {
	case err != nil:
		r.problem(check, "", "%v", err)
	case !shown:
		r.ok(check, "Procore does not show it; the companies file has the standard cost code list %d", c.StandardCostCodeListID)
	case conn == nil:
		r.problem(check, repair, "Procore has none")
	case conn.CodeList != 0 && c.StandardCostCodeListID != 0 && conn.CodeList != c.StandardCostCodeListID:
		r.problem(check, repair, "Procore has the standard cost code list %d, the companies file %d", conn.CodeList, c.StandardCostCodeListID)
	default:
		r.ok(check, "Procore has it, with the standard cost code list %d", conn.CodeList)
		checkMetadata(r, conn.Metadata, c, erp, repair)
	}
}

func checkMetadata(r *findings, has map[string]any, c *company.Company, erp *tiebackv1.CapabilitiesResponse, repair string) {
	const check = "erp metadata"
	if erp == nil {
		return
	}
	want, err := metadata.Of(erp, c.MetadataFile)
	switch {
	case err != nil:
		r.problem(check, "correct the file", "%v", err)
	case has == nil: // Procore does not show it
	case !metadata.Same(has, want):
		r.warn(check, repair+", or Sync Metadata in Procore", "Procore's metadata differs from that of the connector and metadata_file")
	default:
		r.ok(check, "Procore has that of the connector and metadata_file")
	}
}

// checkHook checks the company's webhooks in Procore.
func (d *Doctor) checkHook(ctx context.Context, r *findings, api *connection.API, c *company.Company) {
	const check = "webhook"
	repair := fmt.Sprintf("tieback setup --company %d", c.ID)
	namespace := c.WebhookNamespace
	if namespace == "" {
		namespace = connection.Namespace
	}
	hooks, err := api.Hooks(ctx, namespace)
	switch {
	case err != nil:
		r.problem(check, "give the app the permission Webhooks API at Standard", "%v", err)
		return
	case len(hooks) == 0:
		r.problem(check, repair+" --url https://…", "Procore has none of namespace %s, so no click arrives", namespace)
		return
	case len(hooks) > 1:
		r.warn(check, repair, "Procore has %d of namespace %s, so each event arrives %[1]d times; one is enough", len(hooks), namespace)
	}
	for _, h := range hooks {
		d.checkOneHook(r, h, c, repair)
	}
}

func (d *Doctor) checkOneHook(r *findings, h connection.Hook, c *company.Company, repair string) {
	const check = "webhook"
	bad := len(r.all)
	path := connection.Destination("", c.ID)
	switch {
	case !strings.HasSuffix(h.URL, path):
		r.problem(check, repair, "webhook %d delivers to %s, but ingest serves %s", h.ID, h.URL, path)
	case c.URL != "" && h.URL != connection.Destination(c.URL, c.ID):
		r.problem(check, repair, "webhook %d delivers to %s, but the companies file has %s", h.ID, h.URL, c.URL)
	}
	if !slices.Contains([]string{"v2", "v3", "v4", "v2.0", "v3.0", "v4.0"}, h.APIVersion) {
		r.warn(check, repair+" --api-version "+connection.APIVersion, "webhook %d sends version %q, which this version of Tieback does not support", h.ID, h.APIVersion)
	}
	sends, shown := d.sends(h, c)
	if shown && !sends {
		r.problem(check, repair, "webhook %d sends a token that is not in the companies file, so ingest refuses its deliveries", h.ID)
	}
	switch n := h.Listens(); {
	case n == 0:
		r.problem("trigger", repair, "webhook %d has none for ERP Requests / create, so no click arrives", h.ID)
	case n > 1:
		r.warn("trigger", repair, "webhook %d has %d for ERP Requests / create; one is enough", h.ID, n)
	default:
		r.ok("trigger", "webhook %d has one for ERP Requests / create", h.ID)
	}
	switch {
	case h.Failing > 0:
		r.problem("deliveries", "check that ingest runs and is reachable at the address, and see its log; the sweep fetches what Procore discards", "Procore is retrying %d deliveries of webhook %d", h.Failing, h.ID)
	case h.Failing < 0:
		r.warn("deliveries", "", "Procore does not show the deliveries of webhook %d", h.ID)
	default:
		r.ok("deliveries", "none of webhook %d is failing", h.ID)
	}
	if !slices.ContainsFunc(r.all[bad:], func(f Finding) bool { return f.Check == check }) {
		hidden := ""
		if _, masked := h.End(); !shown {
			hidden = "; Procore does not show which token it sends"
		} else if masked {
			hidden = "; Procore shows only the end of its token, which matches"
		}
		r.ok(check, "webhook %d delivers to %s%s", h.ID, h.URL, hidden)
	}
}

// sends reports whether a webhook sends a token of the companies file. shown is false if Procore does not show the token, or
// if the file can't be read, which is another finding.
func (d *Doctor) sends(h connection.Hook, c *company.Company) (sends, shown bool) {
	for _, token := range d.tokens(c) {
		one, visible := h.Sends(token)
		sends, shown = sends || one, shown || visible
	}
	return sends, shown
}

// tokens returns the company's webhook tokens, the newest last, or none if the companies file can't be read.
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

// checkIngest checks that ingest accepts the webhook token at the address that Procore calls.
func (d *Doctor) checkIngest(ctx context.Context, r *findings, c *company.Company) {
	const check = "ingest"
	if c.URL == "" {
		r.warn(check, fmt.Sprintf("tieback setup --company %d --url https://…", c.ID), "not checked: the companies file does not have its public address (url)")
		return
	}
	tokens := d.tokens(c)
	if len(tokens) == 0 {
		return // another finding
	}
	accepts, err := connection.Probe(ctx, d.Client, connection.Destination(c.URL, c.ID), c.ID, tokens[len(tokens)-1])
	switch {
	case err != nil:
		r.warn(check, "check from outside that Procore can reach it: DNS, certificate, proxy, and whether ingest runs", "no answer at %s from this machine: %v", c.URL, err)
	case !accepts:
		r.problem(check, "check that ingest has the newest file of webhook token hashes (`tieback webhooks` writes it); if ingest runs in `tieback run`, restart that if the company is new", "it answers at %s, and refuses the company's webhook token", c.URL)
	default:
		r.ok(check, "it answers at %s, and accepts the webhook token; whether it can store a delivery was not tried (see broker, streams, limits)", c.URL)
	}
}
