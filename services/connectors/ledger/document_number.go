package ledger

import (
	"cmp"
	"fmt"

	"github.com/tieback/tieback/pkg/fault"
)

// numberOwner returns the scope in which the number of a document must be unique, or "" if it need not be. A vendor
// numbers its invoices, whether they are requisitions or direct costs; the bank numbers the checks.
func numberOwner(r *Record) string {
	switch {
	case r.GetNumber() == "":
		return ""
	case r.GetEntity() == Payment:
		return "check"
	case r.GetVendorOriginId() == "":
		return ""
	case r.GetEntity() == Requisition || r.GetEntity() == DirectCost:
		return "invoice/" + r.GetVendorOriginId()
	}
	return ""
}

// numbered stores the number of a document. It refuses a number that another live document has, as it would be paid
// twice. One check may pay several invoices or contracts of a vendor, and a vendor may number its invoices per
// contract; in these cases messages has a notice for the accountant.
func (t *tx) numbered(r *row) (messages []string, err error) {
	if err := t.exec("DELETE FROM numbers WHERE record_id = ?", r.id); err != nil {
		return nil, err
	}
	owner := numberOwner(r.rec)
	if owner == "" {
		return nil, nil
	}
	same, err := t.rows("SELECT "+rowColumns+" FROM numbers n JOIN records r ON r.id = n.record_id"+
		" WHERE n.owner = ? AND n.number = ? AND r.deleted = 0 ORDER BY r.id", owner, r.rec.GetNumber())
	if err != nil {
		return nil, err
	}
	for _, other := range same {
		if !shared(r.rec, other.rec) {
			return nil, twice(r.rec, other.rec)
		}
		messages = append(messages, also(r.rec, other.rec))
	}
	return messages, t.exec("INSERT INTO numbers VALUES (?, ?, ?)", r.id, owner, r.rec.GetNumber())
}

// shared reports whether two documents may have the same number: payments by one check for different invoices or
// contracts, and invoices of different contracts of a vendor.
func shared(a, b *Record) bool {
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	if a.GetEntity() != b.GetEntity() || a.GetVendorOriginId() != b.GetVendorOriginId() {
		return false
	}
	contracts := differ(a.GetContractOriginId(), b.GetContractOriginId())
	return a.GetEntity() == Payment && (contracts || differ(a.GetParentOriginId(), b.GetParentOriginId())) ||
		a.GetEntity() == Requisition && contracts
}

// also returns the notice that another document has the number of r.
func also(r, other *Record) string {
	if r.GetEntity() == Payment {
		return fmt.Sprintf("Check %q also pays %s, as %s.", r.GetNumber(), cmp.Or(other.GetParentOriginId(), other.GetContractOriginId()), other.GetOriginId())
	}
	return fmt.Sprintf("Invoice number %q of this vendor is also that of %s, on the commitment %s. Check that this is another invoice.",
		r.GetNumber(), other.GetOriginId(), other.GetContractOriginId())
}

func twice(r, other *Record) error {
	if r.GetEntity() == Payment {
		return fault.Refused("number", "The payment %q is already in the ledger, as %s. If it is another payment, correct its check number in Procore and export it again.",
			r.GetNumber(), other.GetOriginId())
	}
	return fault.Refused("number", "The invoice %q of this vendor is already in the ledger, as the %s %s. If it is another invoice, correct its number in Procore and export it again.",
		r.GetNumber(), Title(other.GetEntity()), other.GetOriginId())
}
