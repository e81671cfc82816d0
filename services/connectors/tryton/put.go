package tryton

import (
	"cmp"
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Put books a record under its key, with one call of our module and in one transaction. The same key always
// returns the first booking, also after the record was deleted. Put does not change the record of the
// request.
func (b *Books) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	facts, err := b.company(ctx, q.GetCompanyId())
	if err != nil {
		return nil, err
	}
	if q.GetKey() == "" || q.GetRecord() == nil {
		return nil, fault.Refused("key", "Tryton books nothing without a key and a record.")
	}
	booking, err := b.put(ctx, facts, q)
	if err != nil {
		return nil, err
	}
	return &tiebackv1.PutResponse{Booking: booking}, nil
}

func (b *Books) put(ctx context.Context, facts *facts, q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	r := proto.CloneOf(q.Record)
	normalize(r)
	t, ok := traitOf(r.Entity)
	if !ok || !t.put {
		return nil, fault.Permanentf("Tryton takes no %s from Procore. Enter it in Tryton by hand.", connector.Plural(r.Entity))
	}
	known, booking, err := b.find(ctx, q.Key, r)
	if booking != nil || err != nil {
		return booking, err
	}
	w := &work{Books: b, facts: facts, found: known, r: r, trait: t}
	plan, err := w.plan(ctx, q)
	if err != nil {
		return nil, err
	}
	var raw string
	if err := b.rpc.callWith(ctx, writes, facts.context(), &raw, "model.tieback.key.book", q.Key, plan); err != nil {
		return nil, err
	}
	return bookingOf(raw)
}

// find looks up the key, the references of r and the record that it changes.
func (b *Books) find(ctx context.Context, key string, r *record) (found, *tiebackv1.Booking, error) {
	refs := refsOf(r)
	switch {
	case natural(r.Entity):
		refs = append(refs, connector.Reference{Entity: r.Entity, OriginID: connector.AssignmentID(r.CostCodeOriginId, r.CategoryOriginId)})
	case r.OriginId != "":
		refs = append(refs, connector.Reference{Entity: r.Entity, OriginID: r.OriginId})
	}
	refs = distinct(refs)
	l, err := b.look(ctx, key, refs)
	if err != nil {
		return nil, nil, err
	}
	if l.Booking != "" && l.Entity != name(r.Entity) {
		return nil, nil, fault.Refused("key", "The key %q belongs to a %s in Tryton, not to a %s.", key, l.Entity, connector.Noun(r.Entity))
	}
	if l.Booking != "" {
		booking, err := bookingOf(l.Booking)
		return nil, booking, err
	}
	known := found{}
	for i, at := range refs {
		known[[2]string{name(at.Entity), at.OriginID}] = l.Mappings[i]
	}
	return known, nil, nil
}

// work is one record that is being booked.
type work struct {
	*Books
	facts *facts
	found found
	r     *record
	trait trait
}

// plan returns what our module must do: the record's values, and its mapping.
func (w *work) plan(ctx context.Context, q *tiebackv1.PutRequest) (object, error) {
	old, err := w.changes()
	if err != nil {
		return nil, err
	}
	if err := w.found.check(w.r); err != nil {
		return nil, err
	}
	w.found.inherit(w.r)
	digits, err := w.digits()
	if err != nil {
		return nil, err
	}
	if err := valid(w.r, w.trait, digits); err != nil {
		return nil, err
	}
	plan := object{
		"entity": name(w.r.Entity), "company": w.facts.id, "order": q.Order, "order_latest": q.OrderLatest, "stamp": q.Stamp,
		"model": w.trait.model, "expect": w.found.ids(), "origin_data": w.r.OriginData,
		"origin_code": w.r.Code,
	}
	if old != nil {
		plan["id"], plan["origin"] = old.Resource, old.Origin
		plan["expect"] = w.expect(old)
		w.carry(old)
	} else if natural(w.r.Entity) {
		plan["origin"] = connector.AssignmentID(w.r.CostCodeOriginId, w.r.CategoryOriginId)
	}
	if plan["contract_lines"], err = contractLines(w.r); err != nil {
		return nil, err
	}
	if err := w.fill(ctx, plan, old); err != nil {
		return nil, err
	}
	plan["mapping"], err = w.mapping()
	return plan, err
}

// expect returns the ids of the referenced mappings, without the record itself, which may be deleted and
// restored.
func (w *work) expect(old *mapping) []int64 {
	var out []int64
	for _, id := range w.found.ids() {
		if id != old.ID {
			out = append(out, id)
		}
	}
	return out
}

// changes returns the mapping of the record that w changes, or nil if it is new. A deleted assignment is
// restored.
func (w *work) changes() (*mapping, error) {
	r := w.r
	if natural(r.Entity) {
		return w.found.of(r.Entity, connector.AssignmentID(r.CostCodeOriginId, r.CategoryOriginId)), nil
	}
	if r.OriginId == "" {
		return nil, nil
	}
	if !w.trait.update {
		return nil, fault.Refused("origin_id", "The %s is already in Tryton, as %s, and an export can't change it. "+
			"Change it in Tryton, or reset it in Procore and export it again.", called(r), r.OriginId)
	}
	old := w.found.of(r.Entity, r.OriginId)
	switch {
	case old == nil:
		return nil, fault.Refused("origin_id", "The %s %s is unknown in Tryton, so it can't be changed. Reset it in Procore and export it again.", connector.Noun(r.Entity), r.OriginId)
	case !old.Live:
		return nil, fault.Refused("origin_id", "The %s %s was deleted in Tryton, so it can't be changed. Reset it in Procore and export it again.", connector.Noun(r.Entity), r.OriginId)
	}
	return old, nil
}

// carry keeps the values of the record that a change lacks.
func (w *work) carry(old *mapping) {
	was, err := old.booked()
	if err != nil || was == nil {
		return
	}
	if w.r.ProcoreId == 0 {
		w.r.ProcoreId = old.Procore
	}
	w.r.OriginData = cmp.Or(w.r.OriginData, was.OriginData)
}

// fill adds the values of the entity to a plan.
func (w *work) fill(ctx context.Context, plan object, old *mapping) (err error) {
	switch w.trait.model {
	case parties:
		plan["code"] = "code"
		plan["values"], err = w.party(ctx, old)
	case accounts:
		plan["code"] = "code"
		plan["values"], err = w.account(old)
	case buys, sells:
		err = w.order(plan)
	case invoices:
		err = w.invoice(plan)
	case moves:
		err = w.payment(plan)
	}
	return err
}

// mapping returns what our module stores with the record.
func (w *work) mapping() (object, error) {
	data, err := keep(w.r)
	if err != nil {
		return nil, fault.New(fault.Permanent, fmt.Errorf("tryton: %w", err))
	}
	r := w.r
	out := object{"live": true, "procore": r.ProcoreId, "data": data}
	for column, origin := range map[string]string{
		"job": r.JobOriginId, "sub_job": r.SubJobOriginId, "vendor": r.VendorOriginId, "contract": r.ContractOriginId,
		"parent": r.ParentOriginId, "cost_code": r.CostCodeOriginId, "category": r.CategoryOriginId,
	} {
		if origin != "" {
			out[column] = origin
		}
	}
	return out, nil
}

// digits returns the number of decimals of the record's currency.
func (w *work) digits() (int32, error) {
	c := w.r.Currency
	if c == "" {
		return w.facts.Digits, nil
	}
	digits, ok := w.facts.DigitsOf[c]
	if !ok {
		return 0, fault.Refused("currency", "Tryton has no currency %q, which the %s is in. Enter it in Tryton, then export it again.", c, called(w.r))
	}
	return digits, nil
}

// currency returns Tryton's id of the record's currency.
func (w *work) currency() int64 {
	if w.r.Currency == "" {
		return w.facts.Currency
	}
	return w.facts.Currencies[w.r.Currency]
}
