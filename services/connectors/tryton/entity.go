package tryton

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	record = tiebackv1.Record
	entity = tiebackv1.Entity
)

// Short names of the entities.
const (
	standardCostCode         = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	standardCategory         = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	vendor                   = tiebackv1.Entity_ENTITY_VENDOR
	job                      = tiebackv1.Entity_ENTITY_JOB
	subJob                   = tiebackv1.Entity_ENTITY_SUB_JOB
	costCode                 = tiebackv1.Entity_ENTITY_COST_CODE
	assignment               = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	jobCost                  = tiebackv1.Entity_ENTITY_JOB_COST
	commitment               = tiebackv1.Entity_ENTITY_COMMITMENT
	commitmentChangeOrder    = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	requisition              = tiebackv1.Entity_ENTITY_REQUISITION
	payment                  = tiebackv1.Entity_ENTITY_PAYMENT
	primeContract            = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	primeContractChangeOrder = tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER
	paymentApplication       = tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION
	directCost               = tiebackv1.Entity_ENTITY_DIRECT_COST
)

// trait describes how the driver handles an entity.
type trait struct {
	entity entity
	model  string // Tryton's model
	needs  string // required fields, separated by spaces
	put    bool
	update bool // Put with an origin id changes it in place
}

const (
	parties  = "party.party"
	accounts = "analytic_account.account"
	buys     = "purchase.purchase"
	sells    = "sale.sale"
	invoices = "account.invoice"
	moves    = "account.move"
)

var traits = []trait{
	{standardCostCode, accounts, "name code", true, true},
	{standardCategory, accounts, "name", true, true},
	{vendor, parties, "name", true, true},
	{job, accounts, "name", true, true},
	{subJob, accounts, "name job", true, true},
	{costCode, accounts, "name code job", true, true},
	{assignment, accounts, "cost_code category", true, true},
	{jobCost, accounts, "", false, false},
	{commitment, buys, "job vendor", true, false},
	{commitmentChangeOrder, buys, "contract", true, false},
	{requisition, invoices, "contract", true, false},
	{payment, moves, "amount", true, false},
	{primeContract, sells, "job", true, false},
	{primeContractChangeOrder, sells, "contract", true, false},
	{paymentApplication, invoices, "", true, false},
	{directCost, invoices, "", true, false},
}

func traitOf(e entity) (trait, bool) {
	for _, t := range traits {
		if t.entity == e {
			return t, true
		}
	}
	return trait{}, false
}

// name returns the module's name of an entity: "sub_job".
func name(e entity) string { return strings.ToLower(strings.TrimPrefix(e.String(), "ENTITY_")) }

// natural reports whether an origin id is made of the ids that the record joins.
func natural(e entity) bool { return e == assignment || e == jobCost }

// called names a record in a message: commitment "PO-7".
func called(r *record) string {
	s := cmp.Or(r.GetCode(), r.GetNumber(), r.GetName(), r.GetOriginId())
	if s == "" {
		return connector.Noun(r.GetEntity())
	}
	return fmt.Sprintf("%s %q", connector.Noun(r.GetEntity()), s)
}

func modelOf(e entity) string {
	t, _ := traitOf(e)
	return t.model
}
