package scenario

import (
	"context"
	"fmt"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// play is the whole evening of one company.
func (d *desk) play(ctx context.Context, jobs int) error {
	for _, act := range []func(context.Context) error{
		d.opening, d.people, func(ctx context.Context) error { return d.openJobs(ctx, jobs) }, d.work, d.undoing, d.mishaps,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// opening syncs what everything else stands on.
func (d *desk) opening(ctx context.Context) error {
	category, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, Code: d.name("CAT"), Name: "Labor"})
	if err != nil {
		return err
	}
	standard, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, Code: d.name("SCC"), Name: "General Conditions"})
	if err != nil {
		return err
	}
	for _, event := range []string{"sync_metadata", "sync_standard_categories", "sync_standard_cost_codes"} {
		if _, _, err := d.do(ctx, step{event: event}); err != nil {
			return err
		}
	}
	d.category, d.standard = d.synced("line_item_type", category.GetOriginId()), d.synced("standard_cost_code", standard.GetOriginId())
	if d.category.origin == "" || d.standard.origin == "" {
		return d.stop("its standard categories and cost codes were not synced")
	}
	return d.standardCodes(ctx)
}

// stop ends a company's play early; the report shows it, and what was pressed so far.
func (d *desk) stop(why string) error {
	d.p.skip("company %d: all that follows, because %s", d.company, why)
	return fmt.Errorf("company %d: %s", d.company, why)
}

// standardCodes exports a standard cost code, then unlinks and resets some that aren't used.
func (d *desk) standardCodes(ctx context.Context) error {
	var codes []ref
	for range 3 {
		code := d.name("SC")
		payload, done, err := d.do(ctx, step{
			event: "create_standard_cost_codes", origins: origins{"scc_parent_origin_id": d.standard.origin},
			adjust: set("request_data[].code", code, "request_data[].full_code", code, "request_data[].name", "Sealing "+code, "request_data[].parent_id", d.standard.id),
		})
		if err != nil {
			return err
		}
		if done {
			codes = append(codes, d.at(payload, "standard_cost_code", "request_data[].id"))
		}
	}
	if len(codes) < 3 {
		d.p.skip("company %d: unlink and delete of standard cost codes: exports failed", d.company)
		return nil
	}
	for event, code := range map[string]ref{"unlink_standard_cost_codes": codes[0], "delete_standard_cost_codes": codes[1]} {
		if _, _, err := d.do(ctx, step{event: event, origins: origins{"scc_origin_id": code.origin}}); err != nil {
			return err
		}
	}
	return d.spareCategory(ctx)
}

func (d *desk) spareCategory(ctx context.Context) error {
	spare, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, Code: d.name("CAT"), Name: "Equipment"})
	if err != nil {
		return err
	}
	if _, _, err := d.do(ctx, step{event: "sync_standard_categories"}); err != nil {
		return err
	}
	_, _, err = d.do(ctx, step{event: "delete_standard_categories", origins: origins{"standard_category_origin_id": spare.GetOriginId()}})
	return err
}

// people exports vendors, and syncs, imports, links, merges and unlinks others.
func (d *desk) people(ctx context.Context) error {
	var exports []func(context.Context) error
	for range 4 {
		exports = append(exports, d.exportVendor)
	}
	if err := d.all(ctx, exports...); err != nil {
		return err
	}
	if len(d.vendors) < 3 {
		return d.stop("its vendors were not exported")
	}
	return d.syncVendors(ctx)
}

func (d *desk) exportVendor(ctx context.Context) error {
	name := d.name("Vendor")
	payload, done, err := d.do(ctx, step{event: "create_vendor", adjust: set(
		"request_data.vendor.name", name, "request_data.vendor.company", name, "request_data.vendor.origin_code", d.name("V"))})
	if done {
		v := d.at(payload, "vendor", "request_data.vendor.id")
		d.mu.Lock()
		d.vendors = append(d.vendors, v)
		d.mu.Unlock()
	}
	return err
}

// syncVendors: four new in the ERP; one imported, three linked to Procore's own.
func (d *desk) syncVendors(ctx context.Context) error {
	var added []string
	for range 4 {
		v, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_VENDOR, Code: d.name("EV"), Name: d.name("Supplier")})
		if err != nil {
			return err
		}
		added = append(added, v.GetOriginId())
	}
	if _, done, err := d.do(ctx, step{event: "sync_vendors"}); err != nil || !done {
		return err
	}
	v, imported := d.importing("vendor", added[0])
	if !imported {
		return nil
	}
	steps := []step{{event: "create_vendor_in_procore", origins: origins{"vendor_origin_id": v.origin}}}
	for _, origin := range added[1:] {
		id, err := d.p.sb.Mint(d.company, "vendor")
		if err == nil {
			err = d.p.sb.Link(d.company, "vendor", id, origin)
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
		if _, _, err := d.do(ctx, s); err != nil {
			return err
		}
	}
	if err := d.delete(ctx, tiebackv1.Entity_ENTITY_VENDOR, added[3]); err != nil {
		return err
	}
	_, _, err := d.do(ctx, step{event: "unlink_vendor", origins: origins{"vendor_origin_id": added[3]}})
	return err
}
