package syncs

import (
	"cmp"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/bulk"
)

// What Procore is told of each entity, by Procore's names. Staged data names other records
// by origin id: Procore translates on import.

func vendorFields(r *tiebackv1.Record) map[string]any {
	c := r.GetContact()
	return bulk.Fields("name", r.Name, "description", r.Description,
		"address", c.GetStreet(), "city", c.GetCity(), "state_code", c.GetState(), "zip", c.GetZip(), "country_code", c.GetCountry(),
		"business_phone", c.GetPhone(), "email_address", c.GetEmail(), "website", c.GetWebsite())
}

func jobFields(r *tiebackv1.Record) map[string]any {
	c := r.GetContact()
	return bulk.Fields("name", r.Name, "code", r.Code, "description", r.Description,
		"start_date", r.StartsOn, "completion_date", r.EndsOn,
		"address", c.GetStreet(), "city", c.GetCity(), "state_code", c.GetState(), "zip", c.GetZip(), "country_code", c.GetCountry(),
		"phone", c.GetPhone())
}

func subJobFields(r *tiebackv1.Record) map[string]any {
	return bulk.Fields("name", r.Name, "code", r.Code)
}

// update is an update of a synced record with these fields.
func update(fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		m := fields(r)
		for field, v := range bulk.Fields("origin_id", r.OriginId, "origin_code", r.Code, "origin_data", r.OriginData) {
			m[field] = v
		}
		return m
	}
}

// activity adds whether the record is in use, under the entity's own name for it.
func activity(name string, fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		m := fields(r)
		m[name] = !r.Inactive
		return m
	}
}

// ofProject adds the project, which staged records of a project must carry.
func ofProject(fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		m := fields(r)
		m["project_origin_id"] = r.JobOriginId
		return m
	}
}

func documentFields(r *tiebackv1.Record) map[string]any {
	return bulk.Fields("number", cmp.Or(r.Number, r.Code), "title", r.Name, "description", r.Description, "status", r.Status,
		"date", r.Date, "start_date", r.StartsOn, "completion_date", r.EndsOn, "currency_iso_code", r.Currency, "amount", r.Amount,
		"vendor_origin_id", r.VendorOriginId, "sub_job_origin_id", r.SubJobOriginId)
}

func changeOrderFields(r *tiebackv1.Record) map[string]any {
	m := documentFields(r)
	m["commitment_origin_id"] = r.ContractOriginId
	return m
}

// contractLines are a contract's lines, nested in its staged record.
func contractLines(r *tiebackv1.Record) []map[string]any {
	return lines(r, func(l *tiebackv1.Line) map[string]any { return lineFields(r, l) })
}

// changeLines also name the commitment's line that each changes.
func changeLines(r *tiebackv1.Record) []map[string]any {
	return lines(r, func(l *tiebackv1.Line) map[string]any {
		m := lineFields(r, l)
		if l.ContractLineOriginId != "" {
			m["commitment_line_item_origin_id"] = l.ContractLineOriginId
		}
		return m
	})
}

func lines(r *tiebackv1.Record, data func(*tiebackv1.Line) map[string]any) []map[string]any {
	out := make([]map[string]any, 0, len(r.Lines))
	for _, l := range r.Lines {
		out = append(out, map[string]any{"item_type": "line_item", "origin_id": l.OriginId, "status": "staged", "data": data(l)})
	}
	return out
}

func lineFields(r *tiebackv1.Record, l *tiebackv1.Line) map[string]any {
	m := bulk.Fields("description", l.Description, "amount", l.Amount, "quantity", l.Quantity, "unit_cost", l.UnitCost, "uom", l.Unit,
		"tax_amount", l.TaxAmount, "cost_code_origin_id", l.CostCodeOriginId, "line_item_type_origin_id", l.CategoryOriginId,
		"sub_job_origin_id", cmp.Or(l.SubJobOriginId, r.SubJobOriginId))
	if l.Position != 0 {
		m["position"] = l.Position
	}
	return m
}
