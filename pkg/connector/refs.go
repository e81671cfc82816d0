package connector

import (
	"strconv"
	"strings"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Reference is something that a record names by origin id.
type Reference struct {
	Entity   tiebackv1.Entity // 0: a line of its contract
	OriginID string
	Field    string // as the accountant knows it: "job", "cost_code"
	Line     int    // the record's line that names it, from 1; 0: the record itself
}

// ContractOf says what contract_origin_id means in an entity; 0: nothing.
func ContractOf(e tiebackv1.Entity) tiebackv1.Entity {
	switch e {
	case tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, tiebackv1.Entity_ENTITY_REQUISITION, tiebackv1.Entity_ENTITY_PAYMENT:
		return tiebackv1.Entity_ENTITY_COMMITMENT
	case tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION:
		return tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	}
	return 0
}

// ParentOf says what parent_origin_id means in an entity; 0: nothing, or a vendor that
// vendor_origin_id names as well.
func ParentOf(e tiebackv1.Entity) tiebackv1.Entity {
	switch e {
	case tiebackv1.Entity_ENTITY_COST_CODE:
		return e
	case tiebackv1.Entity_ENTITY_PAYMENT:
		return tiebackv1.Entity_ENTITY_REQUISITION
	}
	return 0
}

// References lists what a record names, all that an ERP must have before it books it.
func References(r *tiebackv1.Record) []Reference {
	var out []Reference
	line := 0
	add := func(e tiebackv1.Entity, origin, field string) {
		if origin != "" {
			out = append(out, Reference{Entity: e, OriginID: origin, Field: field, Line: line})
		}
	}
	add(tiebackv1.Entity_ENTITY_JOB, r.GetJobOriginId(), "job")
	add(tiebackv1.Entity_ENTITY_SUB_JOB, r.GetSubJobOriginId(), "sub_job")
	add(tiebackv1.Entity_ENTITY_VENDOR, r.GetVendorOriginId(), "vendor")
	if e := ContractOf(r.GetEntity()); e != 0 {
		add(e, r.GetContractOriginId(), "contract")
	}
	if e := ParentOf(r.GetEntity()); e != 0 {
		add(e, r.GetParentOriginId(), strings.ToLower(strings.TrimPrefix(e.String(), "ENTITY_")))
	}
	add(tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, r.GetStandardOriginId(), "standard_cost_code")
	add(tiebackv1.Entity_ENTITY_COST_CODE, r.GetCostCodeOriginId(), "cost_code")
	add(tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, r.GetCategoryOriginId(), "category")
	for i, l := range r.GetLines() {
		line = i + 1
		add(tiebackv1.Entity_ENTITY_JOB, l.GetJobOriginId(), "job")
		add(tiebackv1.Entity_ENTITY_SUB_JOB, l.GetSubJobOriginId(), "sub_job")
		add(tiebackv1.Entity_ENTITY_COST_CODE, l.GetCostCodeOriginId(), "cost_code")
		add(tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, l.GetCategoryOriginId(), "category")
		add(0, l.GetContractLineOriginId(), "contract_line")
	}
	return out
}

// Where says in a sentence which line names it: " on line 2"; "": the record itself.
func (r Reference) Where() string {
	if r.Line == 0 {
		return ""
	}
	return " on line " + strconv.Itoa(r.Line)
}
