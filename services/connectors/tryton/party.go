package tryton

import (
	"context"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// mechanism is a phone number, an email address or a website.
type mechanism struct {
	ID    int64
	Type  text
	Value text
}

// party returns the values of a vendor. A change overwrites the first address and the first phone, email and
// website. Values that Procore lacks are not changed.
func (w *work) party(ctx context.Context, old *mapping) (object, error) {
	values := object{"name": w.r.Name}
	if w.r.Code != "" {
		values["code"] = w.r.Code
	}
	contact := w.r.GetContact()
	if old == nil {
		values["addresses"] = create(address(contact))
		if m := mechanisms(contact, nil); len(m) > 0 {
			values["contact_mechanisms"] = m
		}
		return values, nil
	}
	if contact == nil {
		return values, nil
	}
	var has []struct {
		Addresses  []int64
		Mechanisms []mechanism `json:"contact_mechanisms."`
	}
	err := w.rpc.call(ctx, reads, &has, "model.party.party.read", []int64{old.Resource},
		[]string{"addresses", "contact_mechanisms.type", "contact_mechanisms.value"})
	if err != nil || len(has) != 1 {
		return values, err
	}
	if ids := has[0].Addresses; len(ids) > 0 {
		values["addresses"] = []any{[]any{"write", ids[:1], address(contact)}}
	} else {
		values["addresses"] = create(address(contact))
	}
	if m := mechanisms(contact, has[0].Mechanisms); len(m) > 0 {
		values["contact_mechanisms"] = m
	}
	return values, nil
}

func address(c *tiebackv1.Contact) object {
	return object{"street": c.GetStreet(), "city": c.GetCity(), "postal_code": c.GetZip()}
}

func mechanisms(c *tiebackv1.Contact, has []mechanism) []any {
	var out []any
	for _, m := range []mechanism{{Type: "phone", Value: c.GetPhone()}, {Type: "email", Value: c.GetEmail()}, {Type: "website", Value: c.GetWebsite()}} {
		if m.Value == "" {
			continue
		}
		values := object{"type": m.Type, "value": m.Value}
		if id := first(has, m.Type); id != 0 {
			out = append(out, []any{"write", []int64{id}, values})
		} else {
			out = append(out, []any{"create", []object{values}})
		}
	}
	return out
}

func first(has []mechanism, kind string) int64 {
	for _, m := range has {
		if m.Type == kind {
			return m.ID
		}
	}
	return 0
}
