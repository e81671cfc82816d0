package imports

import (
	"context"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

const insurance = tiebackv1.Entity_ENTITY_INSURANCE

func linkVendor(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	links := link("vendor", t.Payload.Data.Object("vendor"))
	if links == nil {
		return nil, malformed("vendor has no id or no origin_id")
	}
	return linkVendors(ctx, t, links)
}

// linkAllVendors skips vendors without an origin id, because the ERP does not have them.
func linkAllVendors(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	var links []*tiebackv1.Link
	for _, v := range t.Payload.Data.Objects("vendors") {
		links = append(links, link("vendor", v)...)
	}
	return linkVendors(ctx, t, links)
}

func linkVendors(ctx context.Context, t *worker.Task, links []*tiebackv1.Link) ([]*tiebackv1.CloseOut, error) {
	report := &bulk.Report{Links: links}
	if err := report.Optional(syncInsurances(ctx, t, links, report)); err != nil {
		return nil, err
	}
	return report.CloseOuts(t), nil
}

// mergeVendors removes the links of the vendors that were merged into another one.
func mergeVendors(_ context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	master := t.Payload.Data.Object("master_vendor")
	if master.ID("id") == 0 {
		return nil, malformed("master_vendor has no id")
	}
	report := &bulk.Report{Links: link("vendor", master)}
	for _, source := range t.Payload.Data.Objects("source_vendors") {
		id, err := source.RefID("id")
		if err != nil {
			return nil, err
		}
		if id != 0 && id != master.ID("id") {
			report.Links = append(report.Links, &tiebackv1.Link{ItemType: "vendor", ItemId: id})
		}
	}
	return report.CloseOuts(t), nil
}

// syncInsurances writes the insurances of vendors, if the ERP has insurances. For more than one vendor it
// lists the insurances of all vendors once.
func syncInsurances(ctx context.Context, t *worker.Task, vendors []*tiebackv1.Link, report *bulk.Report) error {
	can, err := bulk.Listable(ctx, t)
	if err != nil || !can[insurance] || len(vendors) == 0 {
		return err
	}
	ids := map[string]int64{}
	for _, v := range vendors {
		ids[v.OriginId] = v.ItemId
	}
	req := &tiebackv1.ListRequest{Entity: insurance}
	if len(vendors) == 1 {
		req.ParentOriginId = vendors[0].OriginId
	}
	all, err := bulk.List(ctx, t, req)
	if err != nil {
		return err
	}
	var items []bulk.Item
	for _, r := range all {
		if id := ids[r.ParentOriginId]; id != 0 {
			items = append(items, bulk.Item{Record: r, Update: insuranceFields(r, t.Event.CompanyId, id)})
		}
	}
	return writeInsurances(ctx, t, items, report)
}

// insuranceStatuses are the statuses that Procore accepts. Any other status of the ERP is left out.
var insuranceStatuses = []string{
	"compliant", "compliant_in_progress", "expired", "non_compliant", "non_compliant_in_progress", "undecided", "unregistered",
}

func insuranceFields(r *bulk.Record, company, vendor int64) map[string]any {
	return bulk.Fields(
		"company_id", company, "vendor_id", vendor, "origin_id", r.OriginId, "origin_data", r.OriginData,
		"name", r.Name, "insurance_type", r.Kind, "policy_number", r.Number, "status", bulk.Term(r.Status, insuranceStatuses, nil),
		"limit", r.Amount, "effective_date", r.StartsOn, "expiration_date", r.EndsOn, "notes", r.Description)
}

func writeInsurances(ctx context.Context, t *worker.Task, items []bulk.Item, report *bulk.Report) error {
	answer, err := bulk.Write(ctx, t.Procore, procore.SyncCall{Route: procore.SyncInsurances}, items)
	if err != nil {
		return err
	}
	report.Updated += len(items) - len(answer.Refused)
	report.Refused = append(report.Refused, answer.Refused...)
	report.Links = append(report.Links, answer.Links("insurance", nil)...)
	return nil
}
