package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/golden"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/sandbox"
)

// event is the event of an event type, with its request and the calls to Procore.
type event struct {
	catalogue.EventType
	company int64
	request sandbox.Request
	dead    bool
	payload map[string]any
	calls   []sandbox.Call   // in order, without logins
	kinds   map[int64]string // of the payload's records
	names   map[int64]string
}

// everyEvent processes a request of each event type, each in a company of its own so that no two share a call, and returns the
// events. It runs once for all tests.
func everyEvent(t *testing.T) []*event {
	t.Helper()
	pressed.once.Do(func() { pressed.events = pressEach(t) })
	if len(pressed.events) != len(catalogue.Table) {
		t.Fatal("the events failed: see the first test")
	}
	return pressed.events
}

var pressed struct {
	once   sync.Once
	events []*event
}

func pressEach(t *testing.T) []*event {
	w := newWorld(t, setup{companies: len(catalogue.Table), driver: yesERPs()})
	l := w.runWith(services{"sweep": nil}) // its calls would be recorded
	var events []*event
	for i, row := range catalogue.Table {
		e := &event{EventType: row, company: firstCompany + int64(i), names: map[int64]string{}}
		e.names[e.company] = "company"
		w.tie(l, e.company)
		payload, err := w.sandbox.Sample(e.company, row.Name, nil)
		w.must(err)
		if g, ok := givenFor[row.Name]; ok {
			w.must(state.Of(l.Bus).SaveLink(t.Context(), e.company, g.itemType, sandbox.GetID(payload, g.at), state.Link{OriginID: g.origin}))
		}
		e.request.ID = w.pressIn(e.company, row.Name, payload)
		e.kinds = w.kindsOf(e)
		events = append(events, e)
	}
	for _, e := range events {
		e.request = w.wait(e.request.ID)
		e.dead = w.isDead(e.request.ID)
	}
	for _, c := range w.sandbox.Calls() {
		e := events[c.CompanyID-firstCompany]
		e.calls = append(e.calls, c)
	}
	for _, e := range events {
		e.payload = decode(t, e.request.Payload)
		e.name(w)
	}
	l.stop()
	return events
}

// tie creates and links the records of given.
func (w *world) tie(l *line, company int64) {
	w.Helper()
	for _, g := range given {
		id, err := w.sandbox.CreateRecord(company, g.itemType)
		w.must(err)
		w.must(w.sandbox.Link(company, g.itemType, id, g.origin))
		w.must(state.Of(l.Bus).SaveLink(w.Context(), company, g.itemType, id, state.Link{OriginID: g.origin}))
	}
}

func decode(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// issued matches ids of companies and of the sandbox, which are above 2^53.
var issued = regexp.MustCompile(`\d{15,}`)

// kinds has the kinds of records, by which ids are named.
var kinds = []string{
	"change_order", "contract_payment", "cost_code", "budget", "invoice_payment", "line_item", "line_item_type", "markup",
	"payment_application", "payment_application_line_item", "prime_contract", "project", "purchase_order_contract", "requisition",
	"requisition_change_order_item", "requisition_contract_detail_item", "requisition_contract_item", "standard_cost_code",
	"sub_job", "tax_code", "vendor", "work_order_contract", "company_level_direct_cost", "erp_job_cost", "erp_transaction",
}

// kindOf returns the kind of the record with an id; assignments are no records.
func (w *world) kindOf(company, id int64) string {
	for _, kind := range kinds {
		if _, ok := w.sandbox.Record(company, kind, id); ok {
			return kind
		}
	}
	return "assignment"
}

func (w *world) kindsOf(e *event) map[int64]string {
	r, _ := w.sandbox.Request(e.request.ID)
	of := map[int64]string{}
	for _, text := range issued.FindAllString(string(r.Payload), -1) {
		id, err := strconv.ParseInt(text, 10, 64)
		w.must(err)
		of[id] = w.kindOf(e.company, id)
	}
	return of
}

// name gives every id in the calls a stable name by kind and order, such as $vendor1.
func (e *event) name(w *world) {
	e.names[e.request.ID] = "request"
	for i, d := range e.request.Details {
		e.names[d.ID] = fmt.Sprint("detail", i+1)
	}
	count := map[string]int{}
	for _, c := range e.calls {
		for _, text := range issued.FindAllString(c.Path+" "+c.Query+" "+string(c.Body), -1) {
			id, err := strconv.ParseInt(text, 10, 64)
			w.must(err)
			if e.names[id] != "" {
				continue
			}
			kind := e.kinds[id]
			if kind == "" {
				kind = w.kindOf(e.company, id)
			}
			count[kind]++
			e.names[id] = fmt.Sprint(kind, count[kind])
		}
	}
}

// text returns the calls as in the golden files.
func (e *event) text(t *testing.T) string {
	var b strings.Builder
	for _, c := range e.calls {
		path := c.Path
		if c.Query != "" {
			path += "?" + c.Query
		}
		fmt.Fprintf(&b, "%s %s\n", c.Method, path)
		if len(c.Body) > 0 {
			if err := json.Compact(new(bytes.Buffer), c.Body); err != nil {
				t.Error(err)
			}
			fmt.Fprintf(&b, "%s\n", c.Body)
		}
		if !well(c) {
			fmt.Fprintf(&b, "→ %d\n", c.Status)
		}
	}
	return issued.ReplaceAllStringFunc(b.String(), func(text string) string {
		id, _ := strconv.ParseInt(text, 10, 64)
		return "$" + e.names[id]
	})
}

// Procore receives exactly these requests for each event type. The ERP accepts everything, and the records of given are linked.
func TestWritesOfEachEventType(t *testing.T) {
	t.Parallel()
	for _, e := range everyEvent(t) {
		t.Run(e.Name, func(t *testing.T) {
			if e.request.Outcome() == sandbox.Failed || e.dead {
				t.Errorf("ended %q (dead-lettered: %v): %+v", e.request.Outcome(), e.dead, e.request.Details)
			}
			golden.Compare(t, filepath.Join("testdata", "writes", e.Name+".golden"), e.text(t))
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "writes"))
	if err != nil || len(files) != len(catalogue.Table) {
		t.Errorf("%d golden files for %d event types, %v", len(files), len(catalogue.Table), err)
	}
}

func well(c sandbox.Call) bool { return c.Status >= 200 && c.Status < 300 }

// The calls make every mark and write of the catalogue's row, and success comes last. This test uses neither the golden files
// nor the handlers.
func TestEachEventTypeKeepsItsCatalogueRow(t *testing.T) {
	t.Parallel()
	for _, e := range everyEvent(t) {
		t.Run(e.Name, func(t *testing.T) {
			e.marksItsRecords(t)
			e.makesItsWrites(t)
			e.closesItsDetails(t)
			e.goesInOrder(t)
		})
	}
}

// marksItsRecords checks that every record of Marks gets external data with an origin id.
func (e *event) marksItsRecords(t *testing.T) {
	marked := map[string]bool{}
	for _, u := range e.updates(t, "external_data/sync") {
		if origin, _ := u["origin_id"].(string); origin != "" {
			marked[fmt.Sprint(u["item_type"], " ", u["item_id"])] = true
		}
	}
	for _, m := range e.Marks {
		types, _, _ := strings.Cut(m.ItemType, " (")
		ids := places(e.payload, m.ItemIDAt)
		if len(ids) == 0 && m.ItemType != "markup" {
			t.Errorf("the sample has no %s", m.ItemIDAt)
		}
		for _, id := range ids {
			if !slices.ContainsFunc(strings.Split(types, " | "), func(kind string) bool { return marked[fmt.Sprint(kind, " ", id)] }) {
				t.Errorf("%s at %s was not marked as %s", id, m.ItemIDAt, types)
			}
		}
	}
}

var write = regexp.MustCompile(`(PATCH|DELETE) (/rest/[^?\s]+)`)

// makesItsWrites checks that every write of the catalogue that is not optional was made.
func (e *event) makesItsWrites(t *testing.T) {
	for _, words := range e.Writes {
		if strings.HasPrefix(words, "optional") {
			continue
		}
		for _, m := range write.FindAllStringSubmatch(words, -1) {
			path, _, _ := strings.Cut(m[2], "/{id}")
			path, _, _ = strings.Cut(path, "/{job_cost_id}")
			path = strings.ReplaceAll(path, "{company_id}", fmt.Sprint(e.company))
			if !slices.ContainsFunc(e.calls, func(c sandbox.Call) bool {
				return c.Method == m[1] && strings.HasPrefix(c.Path, path) && well(c)
			}) {
				t.Errorf("%q: the call was not made", words)
			}
		}
		if _, itemTypes, ok := strings.Cut(words, "staged_records/sync item_type="); ok {
			itemTypes, _, _ = strings.Cut(itemTypes, " with")
			itemTypes, _, _ = strings.Cut(itemTypes, " for")
			for kind := range strings.SplitSeq(itemTypes, " / ") {
				if !slices.ContainsFunc(e.updates(t, "staged_records/sync"), func(u map[string]any) bool { return u["item_type"] == kind && u["status"] == "staged" }) {
					t.Errorf("%q: no %s was staged", words, kind)
				}
			}
		}
	}
}

// closesItsDetails checks that every request detail of the payload was reported as success once.
func (e *event) closesItsDetails(t *testing.T) {
	told := map[string]int{}
	for _, u := range e.updates(t, "erp_request_details/sync") {
		if u["status"] == sandbox.Success {
			told[fmt.Sprint(u["id"])]++
		}
	}
	if e.HasDetail() && len(e.request.Details) == 0 {
		t.Error("the sandbox minted no request detail")
	}
	if e.Category == catalogue.Export && len(e.request.Details) == 0 {
		t.Error("an export without a request detail")
	}
	for _, d := range e.request.Details {
		if told[fmt.Sprint(d.ID)] != 1 || d.Status != sandbox.Success {
			t.Errorf("request detail %d was reported as success %d times and is %q", d.ID, told[fmt.Sprint(d.ID)], d.Status)
		}
	}
}

// steps has the steps of a close-out in their order.
var steps = []string{"unlink", "external_data/sync", "cost_code_line_item_types/sync", "erp_transactions/sync", "erp_request_details/sync"}

func (e *event) goesInOrder(t *testing.T) {
	at := -1 // no step
	for i, c := range e.calls {
		if (i == 0) != (c.Method == "GET") {
			t.Errorf("call %d is %s %s; the first, and no other, reads the request", i+1, c.Method, c.Path)
		}
		step := slices.IndexFunc(steps, func(s string) bool { return strings.HasSuffix(c.Path, s) })
		if step < at {
			t.Errorf("%s came after %s", c.Path, steps[at])
		}
		at = max(at, step)
	}
	if len(e.request.Details) > 0 && at != len(steps)-1 {
		t.Error("the request details were not reported")
	}
}

// updates returns the updates of the successful calls of a sync action.
func (e *event) updates(t *testing.T, action string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, c := range e.calls {
		if !strings.HasSuffix(c.Path, action) || !well(c) {
			continue
		}
		list, _ := decode(t, c.Body)["updates"].([]any)
		for _, u := range list {
			all = append(all, u.(map[string]any))
		}
	}
	return all
}

// places returns the ids at a path of the catalogue, such as "request_data.items[].id".
func places(v any, path string) []string {
	head, rest, more := strings.Cut(strings.TrimPrefix(path, "."), ".")
	name, each := strings.CutSuffix(head, "[]")
	o, _ := v.(map[string]any)
	found := []any{o[name]}
	if each {
		found, _ = o[name].([]any)
	}
	var ids []string
	for _, f := range found {
		switch {
		case more:
			ids = append(ids, places(f, rest)...)
		case f != nil:
			ids = append(ids, fmt.Sprint(f))
		}
	}
	return ids
}
