package connector

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

var nouns = map[tiebackv1.Entity]string{
	tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER:     "commitment change order",
	tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER: "prime contract change order",
	tiebackv1.Entity_ENTITY_REQUISITION:                 "subcontractor invoice",
	tiebackv1.Entity_ENTITY_STANDARD_CATEGORY:           "cost type",
}

// Noun returns the accountants' term for an entity: "cost code".
func Noun(e tiebackv1.Entity) string {
	if n, ok := nouns[e]; ok {
		return n
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(e.String(), "ENTITY_"), "_", " "))
}

// Plural returns the accountants' term for the records of an entity: "cost codes".
func Plural(e tiebackv1.Entity) string { return Noun(e) + "s" }

// Describe names a record for accountants: `vendor "Acme"`. A long name is cut; see fault.Name.
func Describe(r *tiebackv1.Record) string {
	name := cmp.Or(r.GetName(), r.GetCode(), r.GetNumber(), r.GetOriginId(), fmt.Sprint(r.GetProcoreId()))
	return fmt.Sprintf("%s %q", Noun(r.GetEntity()), fault.Name(name))
}
