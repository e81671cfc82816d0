package scenario

import (
	"context"
	"fmt"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// runCompany runs the scenario of one company.
func (a *actor) runCompany(ctx context.Context, jobs int) error {
	for _, part := range []func(context.Context) error{
		a.setup, a.exportVendors, func(ctx context.Context) error { return a.openJobs(ctx, jobs) }, a.contracts, a.undo, a.failures,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// setup syncs the categories and standard cost codes, on which all later steps depend.
func (a *actor) setup(ctx context.Context) error {
	category, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, Code: a.name("CAT"), Name: "Labor"})
	if err != nil {
		return err
	}
	standard, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, Code: a.name("SCC"), Name: "General Conditions"})
	if err != nil {
		return err
	}
	for _, event := range []string{"sync_metadata", "sync_standard_categories", "sync_standard_cost_codes"} {
		if _, _, err := a.run(ctx, step{event: event}); err != nil {
			return err
		}
	}
	a.category, a.standard = a.synced("line_item_type", category.GetOriginId()), a.synced("standard_cost_code", standard.GetOriginId())
	if a.category.origin == "" || a.standard.origin == "" {
		return a.stop("its standard categories and cost codes were not synced")
	}
	return a.standardCodes(ctx)
}

// stop returns the error that ends a company's scenario early, and adds it to the report.
func (a *actor) stop(why string) error {
	a.s.skip("company %d: all later steps: %s", a.company, why)
	return fmt.Errorf("company %d: %s", a.company, why)
}

// standardCodes exports standard cost codes, unlinks one and resets one.
func (a *actor) standardCodes(ctx context.Context) error {
	var codes []ref
	for range 3 {
		code := a.name("SC")
		payload, done, err := a.run(ctx, step{
			event: "create_standard_cost_codes", origins: origins{"scc_parent_origin_id": a.standard.origin},
			adjust: set("request_data[].code", code, "request_data[].full_code", code, "request_data[].name", "Sealing "+code, "request_data[].parent_id", a.standard.id),
		})
		if err != nil {
			return err
		}
		if done {
			codes = append(codes, a.record(payload, "standard_cost_code", "request_data[].id"))
		}
	}
	if len(codes) < 3 {
		a.s.skip("company %d: unlink and delete of standard cost codes: exports failed", a.company)
		return nil
	}
	for event, code := range map[string]ref{"unlink_standard_cost_codes": codes[0], "delete_standard_cost_codes": codes[1]} {
		if _, _, err := a.run(ctx, step{event: event, origins: origins{"scc_origin_id": code.origin}}); err != nil {
			return err
		}
	}
	return a.spareCategory(ctx)
}

// spareCategory syncs a standard category and resets it.
func (a *actor) spareCategory(ctx context.Context) error {
	spare, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, Code: a.name("CAT"), Name: "Equipment"})
	if err != nil {
		return err
	}
	if _, _, err := a.run(ctx, step{event: "sync_standard_categories"}); err != nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "delete_standard_categories", origins: origins{"standard_category_origin_id": spare.GetOriginId()}})
	return err
}

// exportVendors exports vendors, and syncs, imports, links, merges and unlinks others.
func (a *actor) exportVendors(ctx context.Context) error {
	var exports []func(context.Context) error
	for range 4 {
		exports = append(exports, a.exportVendor)
	}
	if err := runAll(ctx, exports...); err != nil {
		return err
	}
	if len(a.vendors) < 3 {
		return a.stop("its vendors were not exported")
	}
	return a.syncVendors(ctx)
}

func (a *actor) exportVendor(ctx context.Context) error {
	name := a.name("Vendor")
	payload, done, err := a.run(ctx, step{event: "create_vendor", adjust: set(
		"request_data.vendor.name", name, "request_data.vendor.company", name, "request_data.vendor.origin_code", a.name("V"))})
	if done {
		v := a.record(payload, "vendor", "request_data.vendor.id")
		a.mu.Lock()
		a.vendors = append(a.vendors, v)
		a.mu.Unlock()
	}
	return err
}

// syncVendors adds four vendors in the ERP, imports one and links three to vendors of Procore.
func (a *actor) syncVendors(ctx context.Context) error {
	var added []string
	for range 4 {
		v, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_VENDOR, Code: a.name("EV"), Name: a.name("Supplier")})
		if err != nil {
			return err
		}
		added = append(added, v.GetOriginId())
	}
	if _, done, err := a.run(ctx, step{event: "sync_vendors"}); err != nil || !done {
		return err
	}
	v, imported := a.importRecord("vendor", added[0])
	if !imported {
		return nil
	}
	steps := []step{{event: "create_vendor_in_procore", origins: origins{"vendor_origin_id": v.origin}}}
	for _, origin := range added[1:] {
		id, err := a.s.sb.CreateRecord(a.company, "vendor")
		if err == nil {
			err = a.s.sb.Link(a.company, "vendor", id, origin)
		}
		if err != nil {
			return err
		}
	}
	steps = append(steps,
		step{event: "link_vendor", origins: origins{"vendor_origin_id": added[1]}},
		step{event: "link_all_vendors", origins: origins{"origin_id1": added[2], "origin_id2": added[3]}},
		step{event: "merge_vendors", origins: origins{"ABC": added[1], "DEF": added[2]}},
	)
	for _, s := range steps {
		if _, _, err := a.run(ctx, s); err != nil {
			return err
		}
	}
	if err := a.delete(ctx, tiebackv1.Entity_ENTITY_VENDOR, added[3]); err != nil {
		return err
	}
	_, _, err := a.run(ctx, step{event: "unlink_vendor", origins: origins{"vendor_origin_id": added[3]}})
	return err
}
