package connector

import (
	"strconv"
	"strings"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Reference is a record, or a line of a contract, that a record names by origin id.
type Reference struct {
	Entity   tiebackv1.Entity // 0: a line of its contract
	OriginID string
	Field    string // in the accountant's terms: "job", "cost_code"
	Line     int    // the record's line that has the reference, from 1; 0: the record itself
}

// ContractOf returns the entity that contract_origin_id of an entity refers to, or 0 if it refers to nothing.
func ContractOf(e tiebackv1.Entity) tiebackv1.Entity {
	switch e {
	case tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, tiebackv1.Entity_ENTITY_REQUISITION, tiebackv1.Entity_ENTITY_PAYMENT:
		return tiebackv1.Entity_ENTITY_COMMITMENT
	case tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION:
		return tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	}
	return 0
}

// ParentOf returns the entity that parent_origin_id of an entity refers to. It returns 0 if it refers to
// nothing, or to a vendor that vendor_origin_id names as well.
func ParentOf(e tiebackv1.Entity) tiebackv1.Entity {
	switch e {
	case tiebackv1.Entity_ENTITY_COST_CODE:
		return e
	case tiebackv1.Entity_ENTITY_PAYMENT:
		return tiebackv1.Entity_ENTITY_REQUISITION
	}
	return 0
}

// References returns the references of a record. The ERP must have all of them before it books the record.
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

// Where returns the place of the reference for a message: " on line 2", or "" for the record itself.
func (r Reference) Where() string {
	if r.Line == 0 {
		return ""
	}
	return " on line " + strconv.Itoa(r.Line)
}
