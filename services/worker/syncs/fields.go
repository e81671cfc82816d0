package syncs

import (
	"cmp"
	"maps"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/bulk"
)

// The fields of each entity, by Procore's names: those of its sync actions and, for staged records, those of
// the Staged Records Developer Guide. Staged data names other records by origin id; Procore translates them
// on import.

func vendorFields(r *tiebackv1.Record) map[string]any {
	c := r.GetContact()
	return bulk.Fields("name", r.Name, "notes", r.Description,
		"address", c.GetStreet(), "city", c.GetCity(), "state_code", c.GetState(), "zip", c.GetZip(), "country_code", c.GetCountry(),
		"business_phone", c.GetPhone(), "email_address", c.GetEmail(), "website", c.GetWebsite())
}

func jobFields(r *tiebackv1.Record) map[string]any {
	c := r.GetContact()
	return bulk.Fields("name", r.Name, "accounting_project_number", r.Code, "description", r.Description,
		"address", c.GetStreet(), "city", c.GetCity(), "state_code", c.GetState(), "zip", c.GetZip(), "country_code", c.GetCountry(),
		"phone", c.GetPhone())
}

func stagedJobFields(r *tiebackv1.Record) map[string]any {
	return with(jobFields(r), "project_number", r.Code, "estimated_start_date", r.StartsOn, "estimated_completion_date", r.EndsOn)
}

// syncedJobFields omits the project number of a job that came from Procore, because users manage
// the number in Procore.
func syncedJobFields(r *tiebackv1.Record) map[string]any {
	m := with(jobFields(r), "start_date", r.StartsOn, "completion_date", r.EndsOn)
	if r.ProcoreId == 0 {
		m = with(m, "project_number", r.Code)
	}
	return m
}

// with adds fields, as bulk.Fields does.
func with(m map[string]any, pairs ...any) map[string]any {
	maps.Copy(m, bulk.Fields(pairs...))
	return m
}

func subJobFields(r *tiebackv1.Record) map[string]any {
	return bulk.Fields("name", r.Name, "code", r.Code)
}

// update returns a function that builds the update of a synced record: these fields, its origin id and its origin
// data.
func update(fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		return with(fields(r), "origin_id", r.OriginId, "origin_data", r.OriginData)
	}
}

// withOriginCode adds the origin code. Only the sync action of vendors accepts it.
func withOriginCode(fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any { return with(fields(r), "origin_code", r.Code) }
}

// activity adds the field that says whether the record is active. Its name depends on the entity.
func activity(name string, fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		m := fields(r)
		m[name] = !r.Inactive
		return m
	}
}

// ofProject adds the project, which staged records of a project must have.
func ofProject(fields func(*tiebackv1.Record) map[string]any) func(*tiebackv1.Record) map[string]any {
	return func(r *tiebackv1.Record) map[string]any {
		m := fields(r)
		m["project_origin_id"] = r.JobOriginId
		return m
	}
}

func documentFields(r *tiebackv1.Record) map[string]any {
	return bulk.Fields("number", cmp.Or(r.Number, r.Code), "title", r.Name, "description", r.Description)
}

// commitmentFields has no dates and no amount, because a staged commitment accepts neither, and its lines have the
// amounts.
func commitmentFields(r *tiebackv1.Record) map[string]any {
	return with(documentFields(r), "status", r.Status, "vendor_origin_id", r.VendorOriginId, "retainage_percent", r.RetainagePercent)
}

func primeContractFields(r *tiebackv1.Record) map[string]any {
	return with(documentFields(r), "status", r.Status, "contract_start_date", r.StartsOn, "contract_estimated_completion_date", r.EndsOn,
		"retainage_percent", r.RetainagePercent)
}

func changeOrderFields(r *tiebackv1.Record) map[string]any {
	m := documentFields(r)
	m["commitment_origin_id"] = r.ContractOriginId
	return m
}

// contractLines are the lines of a contract, nested in its staged record.
func contractLines(r *tiebackv1.Record) []map[string]any {
	return lines(r, func(l *tiebackv1.Line) map[string]any {
		m := lineFields(l)
		if l.Position != 0 {
			m["position"] = l.Position
		}
		return m
	})
}

// changeLines also names the commitment line that each line changes.
func changeLines(r *tiebackv1.Record) []map[string]any {
	return lines(r, func(l *tiebackv1.Line) map[string]any {
		return with(lineFields(l), "commitment_line_item_origin_id", l.ContractLineOriginId)
	})
}

func lines(r *tiebackv1.Record, data func(*tiebackv1.Line) map[string]any) []map[string]any {
	out := make([]map[string]any, 0, len(r.Lines))
	for _, l := range r.Lines {
		out = append(out, map[string]any{"item_type": "line_item", "origin_id": l.OriginId, "status": "staged", "data": data(l)})
	}
	return out
}

func lineFields(l *tiebackv1.Line) map[string]any {
	return bulk.Fields("description", l.Description, "amount", l.Amount, "quantity", l.Quantity, "unit_cost", l.UnitCost, "uom", l.Unit,
		"cost_code_origin_id", l.CostCodeOriginId, "line_item_type_origin_id", l.CategoryOriginId,
		"tax_code_origin_id", l.TaxCodeOriginId)
}
