package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// exporter does by hand what a pipeline does with an export.
type exporter struct {
	t      *testing.T
	w      *world
	server string
	token  string
	pressed
}

func newExporter(t *testing.T) *exporter {
	t.Helper()
	w := &world{sb: sandbox.New(sandbox.Config{HourlyLimit: -1, SpikeLimit: -1}), books: newBooks()}
	if err := w.sb.AddCompany(sandbox.Company{ID: measured, ClientID: local.ClientID, ClientSecret: "secret"}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w.sb.Handler())
	t.Cleanup(srv.Close)
	e := &exporter{t: t, w: w, server: srv.URL}
	var err error
	if e.pressed, err = w.press(measured, "create_commitment", nil); err != nil {
		t.Fatal(err)
	}
	resp, err := http.PostForm(srv.URL+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {local.ClientID}, "client_secret": {"secret"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	e.token = a.Token
	return e
}

func (e *exporter) book(key string) booking {
	return e.w.books.book(key, commitment{ID: e.contract, Lines: []commitmentLine{{ID: e.line}}})
}

func (e *exporter) mark(commitment, line string) {
	e.t.Helper()
	for _, err := range []error{e.w.sb.Link(measured, "work_order_contract", e.contract, commitment), e.w.sb.Link(measured, "line_item", e.line, line)} {
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *exporter) close(status string) {
	e.t.Helper()
	r, _ := e.w.sb.Request(e.id)
	path := fmt.Sprintf("%s/rest/v1.0/companies/%d/erp_request_details/%d", e.server, int64(measured), r.Details[0].ID)
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPatch, path, bytes.NewReader(fmt.Appendf(nil, `{"request_detail":{"status":%q,"messages":[]}}`, status)))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+e.token)
	req.Header.Set("Procore-Company-Id", fmt.Sprint(int64(measured)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e.t.Fatal(resp.Status)
	}
}

// No figure is printed for a pipeline that did less than all its work, or more.
func TestCheckFindsWhatAPipelineDidWrong(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(e *exporter)
		want string // "": nothing is wrong
	}{
		"all is done":         {func(e *exporter) { b := e.book("1"); e.mark(b.ID, b.Lines[0]); e.close("success") }, ""},
		"booked again":        {func(e *exporter) { b := e.book("1"); e.book("1"); e.mark(b.ID, b.Lines[0]); e.close("success") }, ""},
		"not closed":          {func(e *exporter) { b := e.book("1"); e.mark(b.ID, b.Lines[0]) }, "it ended "},
		"closed as failed":    {func(e *exporter) { b := e.book("1"); e.mark(b.ID, b.Lines[0]); e.close("failed") }, "it ended failed"},
		"closed too early":    {func(e *exporter) { e.book("1"); e.close("success") }, "has no origin id"},
		"never booked":        {func(e *exporter) { e.mark("C-1", "L-1-0"); e.close("success") }, "0 bookings"},
		"booked twice":        {func(e *exporter) { b := e.book("1"); e.book("2"); e.mark(b.ID, b.Lines[0]); e.close("success") }, "2 bookings"},
		"marked as another":   {func(e *exporter) { b := e.book("1"); e.mark("C-9", b.Lines[0]); e.close("success") }, `marked as "C-9"`},
		"another line's mark": {func(e *exporter) { b := e.book("1"); e.mark(b.ID, "L-9"); e.close("success") }, `with the line "L-9"`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExporter(t)
			c.do(e)
			err := e.w.check(e.pressed)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
