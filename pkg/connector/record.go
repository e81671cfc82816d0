package connector

import (
	"crypto/sha256"
	"fmt"

	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// stampOf names a booking's request and content, <request>:<hash>, so that a later request
// for the same record knows whether the ERP has what it says.
func stampOf(request int64, r *tiebackv1.Record) string {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil { // a text that is not UTF-8: the driver will refuse it
		raw = []byte(r.String())
	}
	return fmt.Sprintf("%d:%x", request, sha256.Sum256(raw))
}

func validate(r *tiebackv1.Record) error {
	if r.Entity == tiebackv1.Entity_ENTITY_UNSPECIFIED || r.ProcoreId == 0 {
		return fault.New(fault.Permanent, fmt.Errorf("record without entity or Procore id: %v", r))
	}
	amounts := map[string]string{"amount": r.Amount, "actual amount": r.ActualAmount}
	for _, l := range r.Lines {
		n := fmt.Sprintf("line %d, ", l.Position)
		amounts[n+"amount"], amounts[n+"quantity"], amounts[n+"unit cost"] = l.Amount, l.Quantity, l.UnitCost
		amounts[n+"tax"], amounts[n+"retainage"] = l.TaxAmount, l.Retainage
	}
	for field, v := range amounts {
		if v == "" {
			continue
		}
		if _, err := decimal.NewFromString(v); err != nil {
			return fault.Refused(field, "The %s of %s is %q, which is not an amount. Correct it in Procore and export again.", field, Describe(r), v)
		}
	}
	return nil
}
