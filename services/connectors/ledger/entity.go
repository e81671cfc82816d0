package ledger

import (
	"fmt"
	"slices"
	"strings"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	// Record is the canonical record; see proto/tieback/v1/connector.proto.
	Record = tiebackv1.Record
	// Entity is the kind of a Record.
	Entity = tiebackv1.Entity
)

// Short names of the entities.
const (
	StandardCostCode                = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	StandardCategory                = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	Vendor                          = tiebackv1.Entity_ENTITY_VENDOR
	Insurance                       = tiebackv1.Entity_ENTITY_INSURANCE
	Job                             = tiebackv1.Entity_ENTITY_JOB
	SubJob                          = tiebackv1.Entity_ENTITY_SUB_JOB
	CostCode                        = tiebackv1.Entity_ENTITY_COST_CODE
	CostTypeAssignment              = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	JobCost                         = tiebackv1.Entity_ENTITY_JOB_COST
	Budget                          = tiebackv1.Entity_ENTITY_BUDGET
	Commitment                      = tiebackv1.Entity_ENTITY_COMMITMENT
	CommitmentChangeOrder           = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	Requisition                     = tiebackv1.Entity_ENTITY_REQUISITION
	Payment                         = tiebackv1.Entity_ENTITY_PAYMENT
	PrimeContract                   = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	PrimeContractChangeOrder        = tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER
	PaymentApplication              = tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION
	DirectCost                      = tiebackv1.Entity_ENTITY_DIRECT_COST
	line                     Entity = 0 // in refs: a line of a document
)

// trait has the properties of an entity.
type trait struct {
	entity Entity
	prefix string // of origin ids: V-000012
	needs  string // required fields, separated by spaces
	coded  bool   // the code is required
	unique bool   // the code is unique among live records; see scope
	put    bool   // Put with an origin id changes the record in place
}

var traits = []trait{
	{StandardCostCode, "SCC", "name code", true, true, true},
	{StandardCategory, "CAT", "name", false, true, true},
	{Vendor, "V", "name", false, false, true},
	{Insurance, "INS", "vendor", false, false, true},
	{Job, "JOB", "name", false, true, true},
	{SubJob, "SUB", "name job", false, true, true},
	{CostCode, "CC", "name code job", true, true, true},
	{CostTypeAssignment, "", "cost_code category", false, false, true},
	{JobCost, "", "cost_code category", false, false, true},
	{Budget, "BUD", "job", false, false, true},
	{Commitment, "PO", "job vendor", false, false, false},
	{CommitmentChangeOrder, "CCO", "contract", false, false, false},
	{Requisition, "REQ", "contract", false, false, false},
	{Payment, "PAY", "", false, false, false},
	{PrimeContract, "PC", "job", false, false, false},
	{PrimeContractChangeOrder, "PCO", "contract", false, false, false},
	{PaymentApplication, "APP", "", false, false, false},
	{DirectCost, "DC", "", false, false, false},
}

func traitOf(e Entity) (trait, bool) {
	if e < StandardCostCode || int(e) > len(traits) {
		return trait{}, false
	}
	return traits[e-1], true
}

// Entities lists all entities in the order of the contract.
func Entities() []Entity {
	out := make([]Entity, len(traits))
	for i, t := range traits {
		out[i] = t.entity
	}
	return out
}

// EntityName returns the name that ParseEntity reads: "vendor", "sub_job".
func EntityName(e Entity) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "ENTITY_"))
}

// Title returns the entity's name for a sentence: "sub job".
func Title(e Entity) string { return strings.ReplaceAll(EntityName(e), "_", " ") }

// ParseEntity reads the name of an entity, in singular or plural: "vendor", "sub-job", "Sub Jobs". The error of an unknown
// name lists the names.
func ParseEntity(s string) (Entity, error) {
	want := strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(strings.TrimSpace(s)))
	var names []string
	for _, e := range Entities() {
		name := EntityName(e)
		if slices.Contains([]string{name, name + "s", strings.TrimSuffix(name, "y") + "ies"}, want) {
			return e, nil
		}
		names = append(names, name)
	}
	return 0, fmt.Errorf("%q is not an entity of the ledger; the entities are: %s", s, strings.Join(names, ", "))
}

// natural reports whether the origin id of an entity consists of its cost code and category.
func natural(e Entity) bool { return e == CostTypeAssignment || e == JobCost }

// scope returns the scope in which the code of a record must be unique, or nil if it need not be.
func scope(r *Record) any {
	t, _ := traitOf(r.GetEntity())
	switch {
	case !t.unique || r.GetCode() == "":
		return nil
	case r.GetInactive() && (r.GetEntity() == CostCode || r.GetEntity() == StandardCostCode):
		return nil // the cost code that replaced it in Procore has the same code
	case r.GetEntity() == SubJob:
		return r.GetJobOriginId()
	case r.GetEntity() == CostCode:
		return r.GetJobOriginId() + "/" + r.GetSubJobOriginId()
	}
	return ""
}

// document reports whether records of an entity prevent the removal of what they refer to. The others are master data,
// which are removed with their owner.
func document(e Entity) bool { return e >= Commitment }

// call names a record in a sentence: commitment "Steel".
func call(r *Record) string {
	for _, s := range []string{r.GetCode(), r.GetNumber(), r.GetName(), r.GetOriginId()} {
		if s != "" {
			return fmt.Sprintf("%s %q", Title(r.GetEntity()), s)
		}
	}
	return Title(r.GetEntity())
}
