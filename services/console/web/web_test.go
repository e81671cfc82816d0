package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// all are the addresses of all pages.
var all = []string{
	"/", "/requests", "/requests?text=a&state=open&since=2026-11-29T00:00&tz=Europe/Berlin", "/requests/598134325841112/4090", "/requests/598134325841112/4090?payload=1&ask=1",
	"/requests/598134325841112/4090/try", "/dead", "/dead?cause=erp&resolved=1", "/dead/45", "/dead/45?payload=1", "/dead/45/edit", "/dead/replay?all=1&company=7", "/dead/replay?id=45", "/dead/discard?id=45",
	"/companies", "/companies?q=acme", "/companies/598134325841112", "/companies/598134325841112/pause", "/companies/598134325841112/resume", "/companies/598134325841112/sweep", "/companies/598134325841112/rebuild",
	"/companies/598134325841112/checks", "/companies/598134325841112/links", "/companies/598134325841112/links?compare=1", "/audit", "/audit?company=598134325841112&since=2026-11-29T00:00", "/nowhere",
}

// empty is a new system: only what the pages need to be found.
func empty() *fake {
	return &fake{
		overview: &v1.Overview{Companies: []*v1.CompanyState{{Id: acme}}}, timeline: &v1.Timeline{Request: &v1.RequestRow{CompanyId: acme, RequestId: 4090}, Current: &v1.Current{}},
		letter: &v1.GetDeadLetterResponse{DeadLetter: &v1.DeadLetter{Id: 45, Request: &v1.RequestRef{CompanyId: acme}}, Message: "{}"}, letters: &v1.ListDeadLettersResponse{}, preview: &v1.PreviewReplayResponse{},
		audit: &v1.AuditResponse{}, checks: &v1.CheckResponse{}, links: &v1.LinkReport{}, setup: &v1.GetCompanyResponse{},
	}
}

// times multiplies a list.
func times[M any](n int, list []M) (all []M) {
	for i := range n {
		all = append(all, list[i%len(list)])
	}
	return all
}

// huge is a system with very many of everything.
func huge() *fake {
	f := busy()
	o := f.overview
	o.Attention, o.Notes = times(5000, o.Attention), times(50, []string{"A note."})
	o.Companies = nil
	for i := range int64(10_000) {
		c := proto.CloneOf(busy().overview.Companies[i%4])
		c.Id, c.Name = i+1, fmt.Sprintf("%s %d", c.Name, i)
		o.Companies = append(o.Companies, c)
	}
	o.Companies = append(o.Companies, busy().overview.Companies[0])
	f.rows = times(50, f.rows)
	f.timeline.Steps = times(60, f.timeline.Steps)
	f.letters.DeadLetters, f.letters.Total, f.letters.NextPageToken = times(50, f.letters.DeadLetters), 1_000_000, "more"
	f.preview.Previews, f.preview.Total = nil, 250_000
	for i := range uint64(1000) {
		f.preview.Previews = append(f.preview.Previews, &v1.ReplayPreview{Id: i + 1, Replayable: true, Text: "The event is published again."})
	}
	f.audit.Findings = times(20_000, f.audit.Findings)
	f.links.Changes = times(5000, f.links.Changes)
	return f
}

// evil is a text of somebody who wants to break the page.
var evil = `</td><script>alert(1)</script><img src=x onerror=alert(1)>" onmouseover="alert(1)' ` + "\u202e\u2066\u0000\u0007\u009b" + ` مرحبا javascript:alert(1) {{.}} <style>*{display:none}</style>` + strings.Repeat("W", 10_000)

// poisoned is busy with hostile texts everywhere.
func poisoned() *fake {
	f := busy()
	for _, m := range []proto.Message{f.overview, f.timeline, f.letter, f.letters, f.preview, f.audit, f.checks, f.links, f.setup} {
		poison(m.ProtoReflect())
	}
	for _, m := range f.rows {
		poison(m.ProtoReflect())
	}
	f.audit.Counts = map[string]int32{evil: 3}
	f.timeline.ProcoreUrl = "javascript:alert(1)"
	return f
}

func poison(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.IsMap():
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Kind() == protoreflect.StringKind {
				l.Append(protoreflect.ValueOfString(evil))
			}
			for i := range l.Len() {
				if f.Kind() == protoreflect.MessageKind {
					poison(l.Get(i).Message())
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			if m.Has(f) && !strings.HasPrefix(string(f.Message().FullName()), "google.") {
				poison(m.Mutable(f).Message())
			}
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(evil))
		}
	}
}

func zipped(raw []byte) int {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(raw)
	_ = z.Close()
	return b.Len()
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

// nodes returns the elements of a page.
func nodes(t *testing.T, page string) (all []*html.Node) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
	}
	return all
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// Each page in each state is complete, small, accessible, and has nothing that the Content-Security-Policy forbids.
func TestPages(t *testing.T) {
	static := zipped(assets["console.css"].raw) + zipped(assets["console.js"].raw) + zipped(assets["htmx-2.0.11.min.js"].raw) + len(assets["icon.svg"].raw)
	for state, f := range map[string]*fake{"busy": busy(), "empty": empty(), "huge": huge(), "hostile": poisoned()} {
		s := pages(f)
		for _, path := range all {
			w := visit(t, s, operator, http.MethodGet, path, nil)
			page := w.Body.String()
			name := state + " " + path
			want := http.StatusOK
			if path == "/nowhere" {
				want = http.StatusNotFound
			}
			if w.Code != want || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%s: %d %s", name, w.Code, page)
				continue
			}
			if size := zipped([]byte(page)) + static; size > 100_000 || len(page) > 1_000_000 {
				t.Errorf("%s: %d bytes with everything, %d before compression", name, size, len(page))
			}
			if !strings.HasSuffix(strings.TrimSpace(page), "</html>") || strings.Contains(page, "ZgotmplZ") != (state == "hostile" && strings.Contains(path, "/4090") && !strings.HasSuffix(path, "/try")) {
				t.Errorf("%s: the page is not complete, or has a refused value", name)
			}
			if i := strings.IndexFunc(page, func(r rune) bool {
				return r < ' ' && r != '\n' && r != '\t' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x9b
			}); i >= 0 && !strings.Contains(path, "edit") {
				t.Errorf("%s: a control character at %q", name, page[max(0, i-40):i+4])
			}
			checkPage(t, name, nodes(t, page))
		}
	}
}

// checkPage checks what WCAG and the Content-Security-Policy require.
func checkPage(t *testing.T, name string, all []*html.Node) {
	t.Helper()
	ids, labels, h1 := map[string]bool{}, map[string]bool{}, 0
	for _, n := range all {
		if n.DataAtom == atom.Label {
			labels[attr(n, "for")] = true
		}
	}
	for _, n := range all {
		if v := attr(n, "id"); v != "" {
			if ids[v] {
				t.Errorf("%s: two elements have the id %s", name, v)
			}
			ids[v] = true
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(a.Key, "hx-on") || (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("%s: %s %s=%.60q", name, n.Data, a.Key, a.Val)
			}
			if (a.Key == "src" || n.DataAtom == atom.Link && a.Key == "href") && !strings.HasPrefix(a.Val, "/static/") {
				t.Errorf("%s: %s loads %.60q", name, n.Data, a.Val)
			}
		}
		switch n.DataAtom {
		case atom.Script, atom.Style:
			if n.FirstChild != nil || n.DataAtom == atom.Style {
				t.Errorf("%s: an inline %s", name, n.Data)
			}
		case atom.Html:
			if attr(n, "lang") == "" {
				t.Errorf("%s: no language", name)
			}
		case atom.H1:
			h1++
		case atom.Input, atom.Select, atom.Textarea:
			if attr(n, "type") != "hidden" && !labels[attr(n, "id")] && attr(n, "aria-label") == "" {
				t.Errorf("%s: %s %s has no label", name, n.Data, attr(n, "name"))
			}
		case atom.Th:
			if attr(n, "scope") == "" {
				t.Errorf("%s: a header without a scope", name)
			}
		case atom.Table:
			if !slices.ContainsFunc(slices.Collect(n.Descendants()), func(d *html.Node) bool { return d.DataAtom == atom.Th }) {
				t.Errorf("%s: a table without headers", name)
			}
		case atom.A, atom.Button:
			if text(n) == "" && attr(n, "aria-label") == "" {
				t.Errorf("%s: a link without a text: %s", name, attr(n, "href"))
			}
		case atom.Img:
			t.Errorf("%s: an image", name)
		}
		if attr(n, "role") == "table" {
			var heads, cells int
			for d := range n.Descendants() {
				if d.Type == html.ElementNode && attr(d, "role") == "columnheader" {
					heads++
				} else if d.Type == html.ElementNode && attr(d, "role") == "cell" {
					cells++
				}
			}
			if heads == 0 || cells%heads != 0 {
				t.Errorf("%s: %s has %d headers and %d cells", name, attr(n, "aria-label"), heads, cells)
			}
		}
	}
	if h1 != 1 || !ids["main"] {
		t.Errorf("%s: %d h1", name, h1)
	}
}

// posts are the actions, by address.
var posts = map[string]url.Values{
	"/requests/598134325841112/4090/try": {},
	"/dead/45/edit":                      {"message": {"{}"}},
	"/dead/45/edit/replay":               {"message": {"{}"}},
	"/dead/replay":                       {"id": {"45"}},
	"/dead/discard":                      {"id": {"45"}, "reason": {"a test"}},
	"/companies/598134325841112/pause":   {"reason": {"a test"}},
	"/companies/598134325841112/resume":  {},
	"/companies/598134325841112/sweep":   {},
	"/companies/598134325841112/rebuild": {},
}

func TestViewerCanOnlyLook(t *testing.T) {
	f := busy()
	s := pages(f)
	for _, path := range []string{"/", "/requests", "/requests/598134325841112/4090", "/dead", "/dead/45", "/companies", "/companies/598134325841112", "/companies/598134325841112/links"} {
		for _, n := range nodes(t, visit(t, s, viewer, http.MethodGet, path, nil).Body.String()) {
			to := attr(n, "href") + attr(n, "action") + attr(n, "formaction")
			if attr(n, "method") == "post" && to != "/sign-out" || has(n, "formaction") || attr(n, "type") == "checkbox" && attr(n, "name") == "id" ||
				n.DataAtom == atom.A && slices.ContainsFunc([]string{"/try", "/edit", "/pause", "/resume", "/sweep", "/rebuild", "payload=1", "/dead/replay", "/dead/discard"}, func(end string) bool { return strings.Contains(to, end) }) {
				t.Errorf("%s offers a viewer %s %s", path, n.Data, to)
			}
		}
	}
	f.asked = nil
	for path, form := range posts {
		if w := visit(t, s, viewer, http.MethodPost, path, form); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "Your role is viewer") {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("the API was called: %v", f.asked)
	}
	for _, path := range []string{"/requests/598134325841112/4090/try", "/dead/45/edit", "/dead/replay?id=45", "/dead/discard?id=45", "/companies/598134325841112/pause"} {
		if w := visit(t, s, viewer, http.MethodGet, path, nil); w.Code != http.StatusForbidden {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

// An operator of one company can't act for another. The ids of dead letters name no company: the API checks them.
func TestOperatorOfAnotherCompany(t *testing.T) {
	f := busy()
	s := pages(f)
	for path, form := range posts {
		if path == "/dead/replay" || path == "/dead/discard" {
			continue
		}
		f.asked = nil
		w := visit(t, s, other, http.MethodPost, path, form)
		acted := slices.ContainsFunc(f.asked, func(m proto.Message) bool {
			_, get := m.(*v1.GetDeadLetterRequest)
			return !get
		})
		if w.Code != http.StatusForbidden || acted {
			t.Errorf("POST %s: %d, %v", path, w.Code, f.asked)
		}
	}
	if page := visit(t, s, other, http.MethodGet, "/companies/598134325841112", nil).Body.String(); strings.Contains(page, "/pause") {
		t.Error("a button to pause another company")
	}
}

func TestPayloadOnlyWhereAllowed(t *testing.T) {
	f := busy()
	f.timeline.Steps[1].GetEvent().Payload = `{"name": "Jane Doe"}`
	s := pages(f)
	visit(t, s, noData, http.MethodGet, "/requests/598134325841112/4090?payload=1", nil)
	if f.asked[len(f.asked)-1].(*v1.GetRequestRequest).GetIncludePayload() {
		t.Error("the payload was asked for")
	}
	if w := visit(t, s, noData, http.MethodGet, "/dead/45/edit", nil); w.Code != http.StatusForbidden {
		t.Errorf("edit: %d", w.Code)
	}
	if page := visit(t, s, noData, http.MethodGet, "/dead/45?payload=1", nil).Body.String(); strings.Contains(page, "12-3456789") {
		t.Error("the message is shown")
	}
	if page := visit(t, s, operator, http.MethodGet, "/requests/598134325841112/4090?payload=1", nil).Body.String(); !strings.Contains(page, "Jane Doe") || strings.Contains(page, `hx-get="/requests`) {
		t.Error("the payload is not shown, or is loaded again and again")
	}
}

// An action redirects to a page that shows its result, to its caller only.
func TestActionsRedirect(t *testing.T) {
	s := pages(busy())
	for path, want := range map[string]string{
		"/requests/598134325841112/4090/try": "Attempt 4 starts now.", "/dead/45/edit/replay": "1 dead letter is replayed.", "/dead/replay": "1 dead letter is replayed.", "/dead/discard": "1 dead letter is discarded.",
		"/companies/598134325841112/pause": "The company is paused: all stages.", "/companies/598134325841112/resume": "The company is resumed", "/companies/598134325841112/sweep": "found 1 request that", "/companies/598134325841112/rebuild": "1 link is stored",
	} {
		w := visit(t, s, operator, http.MethodPost, path, posts[path])
		to := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/") {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		if page := visit(t, s, operator, http.MethodGet, to, nil).Body.String(); !strings.Contains(page, want) {
			t.Errorf("%s: the page does not say %q: %s", path, want, page)
		}
		if page := visit(t, s, noData, http.MethodGet, to, nil).Body.String(); strings.Contains(page, want) {
			t.Errorf("%s: another caller sees the result", path)
		}
	}
}

// A replay that is partly refused is not reported as done.
func TestPartialResult(t *testing.T) {
	f := busy()
	f.results = []*v1.ReplayResult{{Id: 45, Done: true}, {Id: 44, Error: "it was replayed already"}, {Id: 43, Done: true, DeadLetter: 46}}
	s := pages(f)
	w := visit(t, s, operator, http.MethodPost, "/dead/replay", url.Values{"id": {"45", "44", "43"}})
	page := visit(t, s, operator, http.MethodGet, w.Header().Get("Location"), nil).Body.String()
	for _, want := range []string{"2 dead letters are replayed.", "1 is not: see the reasons.", "It was replayed already.", "It failed again: dead letter 46.", `class="notice bad"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
}

// The pages before an action change nothing, and an action without a reason is refused.
func TestConfirmation(t *testing.T) {
	f := busy()
	s := pages(f)
	for _, path := range []string{"/requests/598134325841112/4090/try", "/dead/replay?id=45", "/dead/replay?all=1&cause=erp", "/dead/discard?id=45", "/companies/598134325841112/pause", "/companies/598134325841112/resume", "/companies/598134325841112/sweep", "/companies/598134325841112/rebuild", "/dead/45/edit"} {
		f.asked = nil
		w := visit(t, s, operator, http.MethodGet, path, nil)
		forms := 0
		for _, n := range nodes(t, w.Body.String()) {
			if n.DataAtom == atom.Form && attr(n, "method") == "post" && attr(n, "action") != "/sign-out" {
				forms++
			}
		}
		if w.Code != 200 || forms != 1 {
			t.Errorf("%s: %d, %d forms", path, w.Code, forms)
		}
		for _, m := range f.asked {
			switch m.(type) {
			case *v1.GetRequestRequest, *v1.PreviewReplayRequest, *v1.GetDeadLetterRequest:
			default:
				t.Errorf("%s calls %T", path, m)
			}
		}
	}
	f.asked = nil
	for path, form := range map[string]url.Values{"/dead/discard": {"id": {"45"}, "reason": {"  "}}, "/companies/598134325841112/pause": {}, "/dead/replay": {}, "/dead/discard?": {"reason": {"x"}}} {
		if w := visit(t, s, operator, http.MethodPost, path, form); w.Code != http.StatusBadRequest || len(f.asked) != 0 {
			t.Errorf("%s: %d %v", path, w.Code, f.asked)
		}
	}
	if w := visit(t, s, operator, http.MethodGet, "/dead/replay", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a replay of nothing: %d", w.Code)
	}
}

// The replay is of the dead letters that the preview showed as replayable, by id: later ones are not included.
func TestBulkReplay(t *testing.T) {
	f := busy()
	s := pages(f)
	form := url.Values{}
	for _, n := range nodes(t, visit(t, s, operator, http.MethodGet, "/dead/replay?all=1&cause=erp&company=7", nil).Body.String()) {
		if n.DataAtom == atom.Input && attr(n, "name") == "id" {
			form.Add("id", attr(n, "value"))
		}
	}
	p := f.asked[len(f.asked)-1].(*v1.PreviewReplayRequest)
	if len(p.GetIds()) != 0 || !slices.Equal(p.GetFilter().GetCauses(), []string{"erp"}) || !slices.Equal(p.GetFilter().GetCompanyIds(), []int64{7}) || p.GetFilter().GetIncludeResolved() {
		t.Errorf("the preview is of %v", p)
	}
	visit(t, s, operator, http.MethodPost, "/dead/replay", form)
	if r := f.asked[len(f.asked)-1].(*v1.ReplayRequest); !slices.Equal(r.GetIds(), []uint64{45}) {
		t.Errorf("replays %v", r)
	}
}

// The edited message arrives as it was typed: a browser sends CR LF.
func TestEditAndReplay(t *testing.T) {
	f := busy()
	odd := "{\n\t\"name\": \"\u202eAlpha \\u0000 <b> &amp; \u2066\"\n}\n"
	f.letter.Message = odd
	s := pages(f)
	field := func(page, kind string) string {
		for _, n := range nodes(t, page) {
			if attr(n, "name") == "message" && n.Data == kind {
				if kind == "input" {
					return attr(n, "value")
				}
				return n.FirstChild.Data
			}
		}
		t.Fatalf("no %s: %s", kind, page)
		return ""
	}
	if is := field(visit(t, s, operator, http.MethodGet, "/dead/45/edit", nil).Body.String(), "textarea"); is != odd {
		t.Fatalf("the form has %q", is)
	}
	if page := visit(t, s, operator, http.MethodPost, "/dead/45/edit", url.Values{"message": {strings.ReplaceAll(odd, "\n", "\r\n")}}).Body.String(); !strings.Contains(page, "The message is unchanged.") {
		t.Error("an unchanged message is not recognized")
	}
	changed := strings.Replace(odd, "Alpha", "Beta", 1)
	page := visit(t, s, operator, http.MethodPost, "/dead/45/edit", url.Values{"message": {strings.ReplaceAll(changed, "\n", "\r\n")}}).Body.String()
	if p := f.asked[len(f.asked)-1].(*v1.PreviewReplayRequest); p.GetEditedMessage() != changed || !slices.Equal(p.GetIds(), []uint64{45}) {
		t.Errorf("previews %v", p)
	}
	if !strings.Contains(page, "<del>-    &#34;tax_id&#34;: &#34;12-3456789&#34;") || !strings.Contains(page, "published as run 45") {
		t.Errorf("no difference: %s", page)
	}
	visit(t, s, operator, http.MethodPost, "/dead/45/edit/replay", url.Values{"message": {strings.ReplaceAll(field(page, "input"), "\n", "\r\n")}})
	if e := f.asked[len(f.asked)-1].(*v1.EditAndReplayRequest); e.GetMessage() != changed || e.GetId() != 45 {
		t.Errorf("replays %q", e.GetMessage())
	}
}

func TestErrors(t *testing.T) {
	for code, want := range map[connect.Code]int{
		connect.CodeNotFound: 404, connect.CodeInvalidArgument: 400, connect.CodePermissionDenied: 403, connect.CodeFailedPrecondition: 409, connect.CodeUnavailable: 503,
		connect.CodeDeadlineExceeded: 504, connect.CodeResourceExhausted: 429, connect.CodeUnimplemented: 501, connect.CodeInternal: 500, connect.CodeUnknown: 500,
	} {
		f := busy()
		f.err = refusal(code, "the broker <b>does not answer")
		s := pages(f)
		for path, method := range map[string]string{"/": "GET", "/requests": "GET", "/requests.csv": "GET", "/dead/45": "GET", "/companies/7/checks": "GET", "/dead/replay": "POST", "/companies/598134325841112/sweep": "POST"} {
			w := visit(t, s, operator, method, path, url.Values{"id": {"45"}})
			page := w.Body.String()
			if w.Code != want || !strings.Contains(page, "</html>") || strings.Contains(page, "<b>does") || strings.Contains(page, "The broker &lt;b&gt;does not answer.") != (want != 500) {
				t.Errorf("%v at %s: %d %s", code, path, w.Code, page)
			}
			if method == "POST" && want >= 500 && !strings.Contains(page, "not known whether it was done") {
				t.Errorf("%v at %s: %s", code, path, page)
			}
		}
	}
	for _, path := range []string{"/requests/x/1", "/requests/7/0", "/dead/-1", "/companies/acme", "/companies/7/destroy", "/requests?company=acme", "/requests?since=yesterday", "/requests?since=2026-11-30T00:00&until=2026-11-29T00:00", "/audit?since=2026-11-29T00:00", "/dead/replay?id=x", "/requests?a=%zz"} {
		if w := visit(t, pages(busy()), operator, http.MethodGet, path, nil); w.Code != 404 && w.Code != 400 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Nothing needs attention only if everything was read.
func TestHeadline(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1.Overview)
		want   string
	}{
		"attention":   {func(*v1.Overview) {}, "3 things need attention"},
		"calm":        {func(o *v1.Overview) { o.Attention = nil }, "Nothing needs attention"},
		"not read":    {func(o *v1.Overview) { o.Attention, o.Unread = nil, []string{"the stream TIEBACK_DEAD"} }, "Not everything is known"},
		"no overview": {func(o *v1.Overview) { proto.Reset(o) }, "Not everything is known"},
	} {
		f := busy()
		c.change(f.overview)
		for _, n := range nodes(t, visit(t, pages(f), operator, http.MethodGet, "/", nil).Body.String()) {
			if attr(n, "id") == "status" && text(n) != c.want {
				t.Errorf("%s: %q, want %q", name, text(n), c.want)
			}
		}
	}
}

func TestExport(t *testing.T) {
	f := busy()
	f.rows = times(1000, f.rows)
	f.rows[0] = &v1.RequestRow{CompanyId: 7, CompanyName: "=HYPERLINK(\"http://evil\")", RequestId: 1, Record: "+1", Reason: "-1\n\"quoted\"", Stage: "@x", Category: "\tx", Created: ago(0)}
	w := visit(t, pages(f), operator, http.MethodGet, "/requests.csv?state=failed&tz=America/Chicago", nil)
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 2001 || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
		t.Fatalf("%d rows, %v, %v", len(rows), err, w.Header())
	}
	want := []string{"7", "'=HYPERLINK(\"http://evil\")", "1", "unknown type", "'\tx", "", "'+1", "'-1\n\"quoted\"", "'@x", "2026-11-30 01:39:10", "", "", ""}
	if !slices.Equal(rows[1], want) || rows[0][9] != "created (America/Chicago)" {
		t.Errorf("%q %q", rows[0], rows[1])
	}
	last := f.asked[len(f.asked)-1].(*v1.ListRequestsRequest)
	if last.GetPageToken() != "next/+token" || !slices.Equal(last.GetStates(), []string{"failed"}) {
		t.Errorf("the second page is %v", last)
	}
}

func TestSafeCell(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "=1": "'=1", "+": "'+", "-1": "'-1", "@a": "'@a", "\t=": "'\t=", "\r=": "'\r=", "a=1": "a=1", "1": "1"} {
		if is := safeCell(in); is != want {
			t.Errorf("%q: %q, want %q", in, is, want)
		}
	}
}

// Times of the page and of its forms are in the chosen zone, which a cookie keeps.
func TestTimeZone(t *testing.T) {
	f := busy()
	s := pages(f)
	w := visit(t, s, operator, http.MethodGet, "/requests?since=2026-11-30T08:00&tz=Europe/Berlin", nil)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly {
		t.Fatalf("%v", cookies)
	}
	since := func() string {
		return f.asked[len(f.asked)-1].(*v1.ListRequestsRequest).GetSince().AsTime().Format("15:04")
	}
	if since() != "07:00" || !strings.Contains(w.Body.String(), "08:39:10.000 CET") {
		t.Errorf("since %s: %s", since(), w.Body)
	}
	visit(t, s, operator, http.MethodGet, "/requests?since=2026-11-30T08:00", nil, func(r *http.Request) { r.AddCookie(cookies[0]) })
	if since() != "07:00" {
		t.Errorf("with the cookie: %s", since())
	}
	for _, zone := range []string{"Local", "../../etc/passwd", "x", strings.Repeat("a", 100)} {
		w := visit(t, s, operator, http.MethodGet, "/requests?tz="+url.QueryEscape(zone), nil)
		if len(w.Result().Cookies()) != 0 || !strings.Contains(w.Body.String(), "07:39:10.000 UTC") {
			t.Errorf("%.20s is accepted", zone)
		}
	}
}

func TestFilter(t *testing.T) {
	f := busy()
	visit(t, pages(f), operator, http.MethodGet, "/requests?company=7&type=create_vendor&category=export&state=failed&text=alpha+9&order=newest&after=t", nil)
	r := f.asked[len(f.asked)-1].(*v1.ListRequestsRequest)
	want := &v1.ListRequestsRequest{CompanyIds: []int64{7}, Types: []string{"create_vendor"}, Categories: []string{"export"}, States: []string{"failed"}, Text: "alpha 9", Order: v1.Order_ORDER_NEWEST_FIRST, PageSize: 50, PageToken: "t"}
	if !proto.Equal(r, want) {
		t.Errorf("%v, want %v", r, want)
	}
}

func TestStatic(t *testing.T) {
	sum := sha256.Sum256(assets["htmx-2.0.11.min.js"].raw)
	if hex.EncodeToString(sum[:]) != htmxSHA256 {
		t.Error("htmx is not the published file")
	}
	if !strings.Contains(string(assets["htmx-LICENSE.txt"].raw), "Zero-Clause BSD") {
		t.Error("htmx has no licence")
	}
	s := pages(busy())
	for _, name := range []string{"htmx-2.0.11.min.js", "console.css", "console.js", "icon.svg"} {
		w := visit(t, s, viewer, http.MethodGet, asset(name), nil, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip, br") })
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(raw, assets[name].raw) || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %v %v", name, err, w.Header())
		}
		w = visit(t, s, viewer, http.MethodGet, "/static/"+name, nil)
		if !bytes.Equal(w.Body.Bytes(), assets[name].raw) || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s without its hash: %v", name, w.Header())
		}
		w = visit(t, s, viewer, http.MethodGet, "/static/"+name, nil, func(r *http.Request) { r.Header.Set("If-None-Match", w.Header().Get("ETag")) })
		if w.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", name, w.Code)
		}
	}
	for _, path := range []string{"/static/", "/static/none.js", "/static/000000000000/console.css", "/static/../web.go"} {
		if w := visit(t, s, viewer, http.MethodGet, path, nil); w.Code < 300 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestPageIsCompressed(t *testing.T) {
	s := pages(busy())
	plain := visit(t, s, viewer, http.MethodGet, "/", nil)
	w := visit(t, s, viewer, http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(z); err != nil || !bytes.Equal(raw, plain.Body.Bytes()) {
		t.Errorf("%v", err)
	}
}

// The handlers' messages are not changed: they may be shared.
func TestAnswersAreNotChanged(t *testing.T) {
	f := poisoned()
	before := proto.CloneOf(f.overview)
	s := pages(f)
	for _, path := range all {
		visit(t, s, operator, http.MethodGet, path, nil)
	}
	if !proto.Equal(before, f.overview) {
		t.Error("an answer was changed")
	}
}

// A page that is not full can have a next one: the index searches a part of the history at a time.
func TestSearchFurtherBack(t *testing.T) {
	f := busy()
	f.more = true
	if page := visit(t, pages(f), operator, http.MethodGet, "/requests?text=alpha", nil).Body.String(); !strings.Contains(page, "Search further back") {
		t.Error("a short page offers no further search")
	}
	f.rows = nil
	if page := visit(t, pages(f), operator, http.MethodGet, "/requests?text=alpha", nil).Body.String(); !strings.Contains(page, "No request matches so far") {
		t.Error("an empty page says that the search has ended")
	}
}

func TestStepTitle(t *testing.T) {
	for want, step := range map[string]*v1.Step{
		"Webhook received":      {Message: &v1.Step_Delivery{Delivery: &v1.DeliveryStep{EventId: "01M8"}}},
		"Found by a sweep":      {Message: &v1.Step_Delivery{Delivery: &v1.DeliveryStep{}}},
		"Fetched from Procore":  {Message: &v1.Step_Event{Event: &v1.EventStep{}}},
		"Processed by export":   {Kind: "outcome", By: "export", Message: &v1.Step_Outcome{Outcome: &v1.OutcomeStep{}}},
		"Reported to Procore":   {Kind: "closed", By: "status-reporter", Message: &v1.Step_Outcome{Outcome: &v1.OutcomeStep{}}},
		"Given up by export":    {Message: &v1.Step_DeadLetter{DeadLetter: &v1.DeadLetterStep{Stage: "export"}}},
		"Replayed":              {Message: &v1.Step_Resolution{Resolution: &v1.ResolutionStep{Action: "replayed"}}},
		"a message without one": {Text: "a message without one"},
	} {
		if got := stepTitle(step); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for run, want := range map[string]string{"": "", "42": "replay of dead letter 42", "swept": "swept"} {
		if got := stepRun(&v1.Step{Run: run}); got != want {
			t.Errorf("run %q: %q, want %q", run, got, want)
		}
	}
}

// The page of a company shows the last hour of its requests and of its quota.
func TestCompanyShowsTheLastHour(t *testing.T) {
	page := visit(t, pages(busy()), operator, http.MethodGet, "/companies/598134325841112", nil).Body.String()
	for _, want := range []string{
		"received in 60 minutes", "failed in 60 minutes", "41 % of the hourly limit are left", "Share of all companies’ requests that ended", "40 % now", "12 s now",
		"Demo ERP 5.0", "purchase order", "2 problems, 1 warning, checked at", "Procore has no webhook", "Compared at", "vendor",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := visit(t, pages(busy()), operator, http.MethodGet, "/", nil).Body.String(); strings.Contains(page, "of the hourly limit") {
		t.Error("the page Now shows the quota of one company")
	}
}

// The page of a request that was not processed does not say that it was reported to Procore.
func TestStepTitleOfSkippedRequest(t *testing.T) {
	s := &v1.Step{Kind: "closed", Message: &v1.Step_Outcome{Outcome: &v1.OutcomeStep{SkipReason: "rejected"}}}
	if got := stepTitle(s); got != "Not processed" {
		t.Errorf("the title is %q", got)
	}
}
