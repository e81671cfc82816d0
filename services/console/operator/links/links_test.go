package links_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/links"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnEmptyBucketGetsAllLinksBack(t *testing.T) {
	b, p := &bucket{}, acme()
	r := rebuild(t, p, b, links.Options{})
	if b.has() != acmeLinks {
		t.Errorf("the bucket has\n%s", b.has())
	}
	if len(r.Changes) != len(b.links) || len(r.Unread)+len(r.WithoutLines) != 0 || !r.Changes[0].Saved || r.Changes[0].Kind != links.New {
		t.Errorf("%+v", r)
	}
	for _, key := range p.asked {
		if strings.Contains(key, "=11") || strings.Contains(key, "of 11") || strings.Contains(key, "contract_id=45") {
			t.Errorf("%s was read: nothing below a record that never was in the ERP can have a link", key)
		}
	}
	if again := rebuild(t, acme(), b, links.Options{}); len(again.Changes) != 0 || b.has() != acmeLinks {
		t.Errorf("a second rebuild changes %+v", again.Changes)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	b := &bucket{}
	r := rebuild(t, acme(), b, links.Options{DryRun: true, Force: true})
	if len(b.links) != 0 || len(r.Changes) != len(strings.Split(acmeLinks, "\n")) || r.Changes[0].Saved {
		t.Errorf("%d links; %+v", len(b.links), r)
	}
}

// What the bucket knows stands: what differs, and what Procore has no more, is told, and only changed by force.
func TestWhatIsStoredIsChangedByForceOnly(t *testing.T) {
	before := func() *bucket {
		return &bucket{links: map[state.Linked]state.Link{
			{ItemType: "vendor", ItemID: 1}:       {OriginID: "V-1", Order: by(500)},   // agrees
			{ItemType: "vendor", ItemID: 2}:       {OriginID: "V-2", Order: by(501)},   // Procore has it, not synced
			{ItemType: "vendor", ItemID: 9}:       {OriginID: "V-9", Order: by(502)},   // Procore has it no more
			{ItemType: "vendor", ItemID: 8}:       {OriginID: "", Order: by(503)},      // ended, and gone
			{ItemType: "project", ItemID: 10}:     {OriginID: "J-OLD", Order: by(504)}, // another origin id
			{ItemType: "requisition", ItemID: 70}: {OriginID: "", Order: by(505)},      // ended here, synced there
			{ItemType: "budget", ItemID: 90}:      {OriginID: "B-1", Order: by(506)},   // in no list
		}}
	}
	want := []string{`project 10: different "J-OLD" "J-1"`, `requisition 70: different "" "REQ-1"`, `vendor 2: gone "V-2" ""`, `vendor 9: gone "V-9" ""`}
	told := func(r *operatorv1.LinkReport) (out []string) {
		for _, c := range r.Changes {
			if c.Kind != links.New {
				out = append(out, fmt.Sprintf("%s %d: %s %q %q", c.ItemType, c.ItemId, c.Kind, c.StoredOriginId, c.ProcoreOriginId))
			}
		}
		return out
	}
	b := before()
	r := rebuild(t, acme(), b, links.Options{})
	if got := told(r); !slices.Equal(got, want) || links.Unchanged(r) != 4 {
		t.Errorf("told %d: %q", links.Unchanged(r), got)
	}
	for key, l := range before().links {
		if b.links[key] != l {
			t.Errorf("%v was %v and is %v", key, l, b.links[key])
		}
	}
	if budget := r.Types[0]; budget.ItemType != "budget" || budget.Unchecked != 1 {
		t.Errorf("budget: %+v", budget)
	}
	b = before()
	if r := rebuild(t, acme(), b, links.Options{Force: true}); links.Unchanged(r) != 0 || !slices.Equal(told(r), want) {
		t.Errorf("with force, told %q", told(r))
	}
	for _, line := range []string{"vendor 1 = V-1 (500)", "vendor 2 =  (501)", "vendor 9 =  (502)", "project 10 = J-1 (504)", "requisition 70 = REQ-1 (505)", "budget 90 = B-1 (506)"} {
		if !strings.Contains(b.has(), line) {
			t.Errorf("with force, no %q in\n%s", line, b.has())
		}
	}
}

// The project of a linked record may have been unlinked and the bucket may have forgotten it. What is in
// no list at all may be in a project that our account may not see.
func TestALinkIsLookedForEverywhere(t *testing.T) {
	p := acme()
	p.answers["work_order_contracts_list project_id=11&view=extended"] = `[{"id":46,"origin_id":null}]`
	p.answers["contract_payments_list contract_id=46&project_id=11"] = `[{"id":47,"origin_id":"P-2"}]`
	b := &bucket{links: map[state.Linked]state.Link{
		{ItemType: "contract_payment", ItemID: 47}: {OriginID: "P-2", Order: by(1)},
		{ItemType: "contract_payment", ItemID: 48}: {OriginID: "P-3", Order: by(1)},
	}}
	rebuild(t, p, b, links.Options{Force: true})
	if !strings.Contains(b.has(), "contract_payment 47 = P-2 (1)") || !strings.Contains(b.has(), "contract_payment 48 = P-3 (1)") {
		t.Errorf("the bucket has\n%s", b.has())
	}
	if slices.Contains(p.asked, "requisitions_list project_id=11") {
		t.Error("no requisition was missing")
	}
}

// Some views have no origin_id. Such an answer says nothing of the link, and --force once ended it.
func TestAnAnswerWithoutOriginIDEndsNoLink(t *testing.T) {
	p := acme()
	p.answers["standard_cost_codes_list standard_cost_code_list_id=2&view=extended"] = `[{"id":5,"standard_cost_code_list_id":2},{"id":6,"standard_cost_code_list_id":2}]`
	p.answers["purchase_order_contracts_list project_id=10&view=extended"] = `[{"id":43,"origin_id":"PO-1","line_items":[{"id":44}]}]`
	b := &bucket{links: map[state.Linked]state.Link{
		{ItemType: "standard_cost_code", ItemID: 5}: {OriginID: "SCC-1", Order: by(1)},
		{ItemType: "line_item", ItemID: 44}:         {OriginID: "PO-1-1", Order: by(1)},
	}}
	r := rebuild(t, p, b, links.Options{Force: true})
	if !strings.Contains(b.has(), "standard_cost_code 5 = SCC-1 (1)") || !strings.Contains(b.has(), "line_item 44 = PO-1-1 (1)") {
		t.Errorf("the bucket has\n%s", b.has())
	}
	if len(r.Unread) != 2 || r.Unread[0].List != "standard_cost_codes_list" || !strings.Contains(r.Unread[0].Why, "origin_id") || r.Unread[1].ItemType != "line_item" {
		t.Errorf("unread %+v", r.Unread)
	}
}

// A project that is not permitted to our account is not listed, or its lists are refused. --force once
// ended its link and those of its records.
func TestAProjectThatWeMayNotSeeKeepsItsLinks(t *testing.T) {
	p := acme()
	p.answers["projects_list filters[by_status]=All"] = `[{"id":10,"origin_id":"J-1"},{"id":13,"origin_id":"J-3"}]`
	p.fails = map[string][]error{}
	for _, status := range []string{"sub_jobs_list project_id=13", "requisitions_list project_id=13"} {
		p.fails[status] = []error{fault.New(fault.Permanent, errors.New("Procore answered 404"))}
	}
	kept := map[state.Linked]state.Link{
		{ItemType: "project", ItemID: 12}:                {OriginID: "J-2", Order: by(1)},
		{ItemType: "sub_job", ItemID: 21}:                {OriginID: "SJ-2", Order: by(1)},
		{ItemType: "cost_code", ItemID: 32}:              {OriginID: "CC-3", Order: by(1)},
		{ItemType: "work_order_contract", ItemID: 47}:    {OriginID: "WO-2", Order: by(1)},
		{ItemType: "line_item", ItemID: 48}:              {OriginID: "WO-2-1", Order: by(1)},
		{ItemType: "contract_payment", ItemID: 49}:       {OriginID: "P-9", Order: by(1)},
		{ItemType: "change_order", ItemID: 66}:           {OriginID: "CCO-9", Order: by(1)},
		{ItemType: "requisition", ItemID: 71}:            {OriginID: "REQ-2", Order: by(1)},
		{ItemType: "payment_application", ItemID: 82}:    {OriginID: "PA-2", Order: by(1)},
		{ItemType: "prime_contract", ItemID: 52}:         {OriginID: "PC-2", Order: by(1)},
		{ItemType: "purchase_order_contract", ItemID: 9}: {OriginID: "PO-2", Order: by(1)},
	}
	b := &bucket{links: maps.Clone(kept)}
	r := rebuild(t, p, b, links.Options{Force: true})
	for key, l := range kept {
		if b.links[key] != l {
			t.Errorf("%v was %v and is %v", key, l, b.links[key])
		}
	}
	if !slices.Equal(r.HiddenProjects, []int64{12}) {
		t.Errorf("not listed: %v", r.HiddenProjects)
	}
}

// Procore lists its inactive vendors apart.
func TestAnInactiveVendorKeepsItsLink(t *testing.T) {
	p := acme()
	p.answers["inactive_vendors_list"] = `[{"id":9,"origin_id":"V-9"}]`
	b := &bucket{links: map[state.Linked]state.Link{{ItemType: "vendor", ItemID: 9}: {OriginID: "V-9", Order: by(1)}}}
	rebuild(t, p, b, links.Options{Force: true})
	if !strings.Contains(b.has(), "vendor 9 = V-9 (1)") {
		t.Errorf("the bucket has\n%s", b.has())
	}
}

// lateState is a bucket that an ERP request writes to after the rebuild has read it.
type lateState struct{ *bucket }

func (s lateState) AllLinks(ctx context.Context, company int64) (map[state.Linked]state.Link, error) {
	before, err := s.bucket.AllLinks(ctx, company)
	_ = s.SaveLink(ctx, company, "vendor", 1, state.Link{OriginID: "V-NEWER", Order: by(600)})
	_ = s.SaveLink(ctx, company, "vendor", 77, state.Link{OriginID: "V-77", Order: by(601)})
	return before, err
}

// Without this, a rebuild beside a running pipeline would take back what a click just made true.
func TestWhatAnERPRequestTeachesMeanwhileStands(t *testing.T) {
	for _, known := range []map[state.Linked]state.Link{{}, {{ItemType: "vendor", ItemID: 1}: {OriginID: "V-0", Order: by(500)}}} {
		s := lateState{&bucket{links: known}}
		_, err := links.Rebuild(t.Context(), acme(), s, links.Options{Company: &company.Company{ID: 7}, Force: true})
		if err != nil || !strings.Contains(s.has(), "vendor 1 = V-NEWER (600)") || !strings.Contains(s.has(), "vendor 77 = V-77 (601)") {
			t.Errorf("%v\n%s", err, s.has())
		}
	}
}

func TestAListThatIsRefusedDoesNotEndTheRest(t *testing.T) {
	no := fault.New(fault.Permanent, errors.New("Procore answered 403"))
	p := acme()
	p.fails = map[string][]error{"vendors_list": {no}, "sub_jobs_list project_id=10": {no}}
	b := &bucket{links: map[state.Linked]state.Link{
		{ItemType: "vendor", ItemID: 99}:    {OriginID: "V-99", Order: by(1)},
		{ItemType: "cost_code", ItemID: 99}: {OriginID: "CC-99", Order: by(1)}, // may be a sub job's
		{ItemType: "insurance", ItemID: 99}: {OriginID: "INS-99", Order: by(1)},
	}}
	r := rebuild(t, p, b, links.Options{Force: true})
	if len(r.Unread) != 2 || r.Unread[0].List != "vendors_list" || r.Unread[1].Of != "project 10" || !strings.Contains(r.Unread[1].Why, "403") {
		t.Errorf("unread %+v", r.Unread)
	}
	for _, line := range []string{"vendor 99 = V-99 (1)", "cost_code 99 = CC-99 (1)", "insurance 99 =  (1)", "requisition 70 = REQ-1 (0)"} {
		if !strings.Contains(b.has(), line) {
			t.Errorf("no %q in\n%s", line, b.has())
		}
	}
}

// A change order's answer may lack its lines, and there is no other list of them: then their
// links are neither back nor gone.
func TestLinesThatNoAnswerHoldsAreLeftAndTold(t *testing.T) {
	p := acme()
	p.answers["commitment_change_orders_list of 10"] = `[{"id":60,"origin_id":"CCO-1"},{"id":65,"origin_id":"CCO-2"}]`
	b := &bucket{links: map[state.Linked]state.Link{{ItemType: "line_item", ItemID: 61}: {OriginID: "CCO-1-1", Order: by(1)}}}
	r := rebuild(t, p, b, links.Options{Force: true})
	if !strings.Contains(b.has(), "line_item 61 = CCO-1-1 (1)") || len(r.WithoutLines) != 1 || len(r.Unread) != 0 {
		t.Errorf("%+v\n%s", r.WithoutLines, b.has())
	}
}

func TestWithoutAListOfStandardCostCodesTheyAreNotRead(t *testing.T) {
	r, err := links.Rebuild(t.Context(), acme(), &bucket{links: map[state.Linked]state.Link{}}, links.Options{Company: &company.Company{ID: 7}})
	if err != nil || len(r.Unread) != 1 || !strings.Contains(r.Unread[0].Why, "standard_cost_code_list_id is not known") {
		t.Errorf("%v, %+v", err, r.Unread)
	}
}

// Saving waits until all is read: a rebuild that ended early changed nothing.
func TestAProcoreOutOfReachEndsIt(t *testing.T) {
	p, b := acme(), &bucket{links: map[state.Linked]state.Link{}}
	p.fails = map[string][]error{"requisitions_list project_id=10": {fault.New(fault.Transient, errors.New("no answer"))}}
	_, err := links.Rebuild(t.Context(), p, b, links.Options{Company: &company.Company{ID: 7}})
	if err == nil || !strings.Contains(err.Error(), "no answer") || len(b.links) != 0 {
		t.Errorf("%v, %d links", err, len(b.links))
	}
}

func TestHalfOfTheLimitIsLeftToTheServices(t *testing.T) {
	if left := links.Retry(nil).Reserve(3600); left != 1800 {
		t.Errorf("%d of 3600 calls are left", left)
	}
}

// A record that is deleted in Procore may still show the origin id that its successor has now.
func TestADeletedRecordGetsNoLink(t *testing.T) {
	p := &lists{answers: map[string]string{"vendors_list": `[{"id":1,"origin_id":"V-1","deleted_at":"2026-11-01T00:00:00Z"},{"id":2,"origin_id":"V-1","deleted_at":null}]`}}
	b := &bucket{}
	rebuild(t, p, b, links.Options{})
	if b.has() != "vendor 2 = V-1 (0)" {
		t.Errorf("the bucket has %s", b.has())
	}
}
