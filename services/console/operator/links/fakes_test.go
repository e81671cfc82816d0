package links_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/schema"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/links"
)

// lists are Procore's answers, by route name and query: "sub_jobs_list project_id=10". What
// is not here is empty.
type lists struct {
	answers map[string]string
	fails   map[string][]error // before the answer, each once; a permanent one for good
	asked   []string
	wrong   []string // calls that Procore does not publish
}

func (p *lists) List(_ context.Context, c procore.Call) iter.Seq2[map[string]any, error] {
	p.checked(c)
	text, _ := url.QueryUnescape(c.Query.Encode())
	q, _ := strings.CutPrefix(text, "company_id=7")
	key := strings.TrimSpace(c.Route.Name + " " + strings.TrimPrefix(q, "&"))
	if strings.Contains(c.Route.Path, "{id}") {
		key += fmt.Sprint(" of ", c.ID)
	}
	p.asked = append(p.asked, key)
	return func(yield func(map[string]any, error) bool) {
		for _, err := range p.fails[key] {
			if !yield(nil, err) || fault.ClassOf(err) == fault.Permanent {
				return
			}
		}
		var items []map[string]any
		dec := json.NewDecoder(strings.NewReader(p.answers[key]))
		dec.UseNumber()
		if p.answers[key] != "" {
			if err := dec.Decode(&items); err != nil {
				panic(err)
			}
		}
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// by is a request that was created later, the higher its id.
func by(request int64) order.Key { return order.New(time.UnixMicro(request), request) }

// checked notes a call that differs from its published operation.
func (p *lists) checked(c procore.Call) {
	path := strings.NewReplacer("{company_id}", "7", "{id}", "10").Replace(c.Route.Path)
	for _, v := range schema.Check(c.Route.Method, path, c.Query, nil) {
		p.wrong = append(p.wrong, fmt.Sprintf("%s: %v", c.Route.Name, v))
	}
}

// bucket keeps links by the rule of state.State.
type bucket struct {
	mu    sync.Mutex
	links map[state.Linked]state.Link
}

func (b *bucket) AllLinks(context.Context, int64) (map[state.Linked]state.Link, error) {
	return maps.Clone(b.links), nil
}

func (b *bucket) SaveLink(_ context.Context, _ int64, itemType string, id int64, l state.Link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := state.Linked{ItemType: itemType, ItemID: id}
	if k := b.links[key].Order; k == l.Order || l.Order.After(k) {
		b.links[key] = l
	}
	return nil
}

// has is the bucket's links in words: "vendor 1 = V-1 (0)".
func (b *bucket) has() string {
	var out []string
	for key, l := range b.links {
		out = append(out, fmt.Sprintf("%s %d = %s (%d)", key.ItemType, key.ItemID, l.OriginID, l.Order.Request()))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func rebuild(t *testing.T, p *lists, b *bucket, o links.Options) *operatorv1.LinkReport {
	t.Helper()
	if b.links == nil {
		b.links = map[state.Linked]state.Link{}
	}
	o.Company = &company.Company{ID: 7, StandardCostCodeListID: 2}
	r, err := links.Rebuild(t.Context(), p, b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range p.wrong {
		t.Error(why)
	}
	return r
}

// acme is a company with a link of every item type that a list shows.
func acme() *lists {
	return &lists{answers: map[string]string{
		"vendors_list":    `[{"id":1,"origin_id":"V-1"},{"id":2,"origin_id":null},{"id":3}]`,
		"insurances_list": `[{"id":4,"origin_id":"INS-1"}]`,
		"standard_cost_codes_list standard_cost_code_list_id=2&view=extended": `[{"id":5,"origin_id":"SCC-1"}]`,
		"line_item_types_list":                                      `[{"id":6,"origin_id":"L"}]`,
		"company_level_direct_costs_list":                           `[{"id":"7","origin_id":"DC-1"}]`,
		"invoice_payments_list":                                     `[{"id":8,"origin_id":"IP-1"}]`,
		"projects_list filters[by_status]=All":                      `[{"id":10,"origin_id":"J-1"},{"id":11,"origin_id":null}]`,
		"sub_jobs_list project_id=10":                               `[{"id":20,"origin_id":"SJ-1"}]`,
		"cost_codes_list project_id=10":                             `[{"id":9007199254740993,"origin_id":"CC-1"}]`,
		"cost_codes_list project_id=10&sub_job_id=20":               `[{"id":31,"origin_id":"CC-2"}]`,
		"work_order_contracts_list project_id=10&view=extended":     `[{"id":40,"origin_id":"WO-1"},{"id":45,"origin_id":null}]`,
		"work_order_contract_lines_list project_id=10 of 40":        `[{"id":41,"origin_id":"WO-1-1"}]`,
		"contract_payments_list contract_id=40&project_id=10":       `[{"id":42,"origin_id":"P-1"}]`,
		"purchase_order_contracts_list project_id=10&view=extended": `[{"id":43,"origin_id":"PO-1","line_items":[{"id":44,"origin_id":"PO-1-1"}]}]`,
		"prime_contracts_list project_id=10":                        `[{"id":50,"origin_id":"PC-1","line_items":[{"id":51,"origin_id":"PC-1-1"}]}]`,
		"commitment_change_orders_list of 10":                       `[{"id":60,"origin_id":"CCO-1","line_items":[{"id":61,"origin_id":"CCO-1-1"}]}]`,
		"prime_change_orders_list of 10":                            `[{"id":62,"origin_id":"PCO-1","line_items":[{"id":63,"origin_id":"PCO-1-1","markup_line_items":[{"id":64,"origin_id":"PCO-1-2"}]}]}]`,
		"requisitions_list project_id=10":                           `[{"id":70,"origin_id":"REQ-1"}]`,
		"payment_applications_list project_id=10":                   `[{"id":80,"origin_id":"PA-1","items":[{"id":81,"origin_id":"51","origin_type":"LineItem"}]}]`,
	}}
}

const acmeLinks = `change_order 60 = CCO-1 (0)
change_order 62 = PCO-1 (0)
company_level_direct_cost 7 = DC-1 (0)
contract_payment 42 = P-1 (0)
cost_code 31 = CC-2 (0)
cost_code 9007199254740993 = CC-1 (0)
insurance 4 = INS-1 (0)
invoice_payment 8 = IP-1 (0)
line_item 41 = WO-1-1 (0)
line_item 44 = PO-1-1 (0)
line_item 51 = PC-1-1 (0)
line_item 61 = CCO-1-1 (0)
line_item 63 = PCO-1-1 (0)
line_item_type 6 = L (0)
markup 64 = PCO-1-2 (0)
payment_application 80 = PA-1 (0)
prime_contract 50 = PC-1 (0)
project 10 = J-1 (0)
purchase_order_contract 43 = PO-1 (0)
requisition 70 = REQ-1 (0)
standard_cost_code 5 = SCC-1 (0)
sub_job 20 = SJ-1 (0)
vendor 1 = V-1 (0)
work_order_contract 40 = WO-1 (0)`
