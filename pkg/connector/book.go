package connector

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// RequestRef is the ERP request that a booking is made for.
type RequestRef struct {
	Order       order.Key
	Redelivered bool // it was worked before, and how that ended is not known
	// BeforeWrite is called before a write is sent, after what may have been sent earlier was looked up in vain.
	// Its error ends the booking, as it is. nil: nothing is called.
	BeforeWrite func(context.Context) error
}

// Book books a record for an ERP request, once however often it is called. A record without
// an origin id is created, one with an origin id changed in place.
//
//	may have been sent before       looked up by key before anything is sent
//	the answer was lost             looked up by key, then sent again by the same key, once
//	booked by an earlier request    changed in place; or adopted, if it can't be changed and is the same
//	  and deleted in the ERP since  its life ends, and it is booked anew
//	booked by a later request       refused
//
// Permanent errors of its own, beside the ERP's: a record that makes no sense, one that the
// ERP does not take, and a request that a newer one has overtaken.
func (e *ERP) Book(ctx context.Context, asked RequestRef, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	if err := validate(r); err != nil {
		return nil, err
	}
	if err := e.takesMoney(ctx, r); err != nil {
		return nil, err
	}
	w := &booking{ERP: e, asked: asked, record: r}
	if r.OriginId != "" {
		return w.change(ctx)
	}
	return w.create(ctx)
}

// booking is a record on its way into the books.
type booking struct {
	*ERP
	asked  RequestRef
	record *tiebackv1.Record
	life   order.Key
}

func (w *booking) create(ctx context.Context) (*tiebackv1.Booking, error) {
	if err := w.takes(ctx, w.record); err != nil {
		return nil, err
	}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	b, err := w.write(ctx, w.key())
	if err != nil {
		return nil, err
	}
	if theirs := orderOf(b.GetStamp()); theirs != "" && theirs != w.asked.Order {
		return w.inherit(ctx, b, theirs)
	}
	return b, w.end(ctx, b)
}

func (w *booking) change(ctx context.Context) (*tiebackv1.Booking, error) {
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	if refusal := w.changes(ctx, w.record); refusal != nil {
		return w.same(ctx, refusal)
	}
	b, err := w.write(ctx, fmt.Sprintf("%s/%d", w.key(), w.asked.Order.Request())) // each change is a write of its own
	if err != nil {
		return nil, err
	}
	if b.GetOriginId() != w.record.OriginId {
		return nil, fault.New(fault.Permanent, fmt.Errorf("connector changed %q when asked to change %s", b.GetOriginId(), Describe(w.record)))
	}
	return b, w.end(ctx, b)
}

func (w *booking) key() string {
	return Key(w.Company, w.record.Entity, w.record.ProcoreId, w.life)
}

// begin reads the life that the request books into. What an unlink or reset ended stays
// ended for the requests before it.
func (w *booking) begin(ctx context.Context) (err error) {
	w.life, err = w.Generation(ctx, w.record.Entity, w.record.ProcoreId)
	switch {
	case err != nil || w.asked.Order > w.life:
		return err
	case w.asked.Redelivered:
		return fault.Permanentf("A newer request has already unlinked or reset %s. If this one booked it before, it is still in your ERP system: look there, and delete it if it is not wanted.", Describe(w.record))
	}
	return fault.Permanentf("A newer request has already unlinked or reset %s, so this one was not carried out.", Describe(w.record))
}

// end makes sure that the booking is whole, and that its life has not ended while it was made.
func (w *booking) end(ctx context.Context, b *tiebackv1.Booking) error {
	if got := len(b.GetLineOriginIds()); got != len(w.record.Lines) || b.GetOriginId() == "" {
		return fault.New(fault.Permanent, fmt.Errorf("connector booked %s as %q with %d of %d lines", Describe(w.record), b.GetOriginId(), got, len(w.record.Lines)))
	}
	now, err := w.Generation(ctx, w.record.Entity, w.record.ProcoreId)
	if err == nil && now != w.life {
		err = fault.Permanentf("A newer request unlinked or reset %s while it was exported. It is in your ERP system as %s: delete it there if it is not wanted, or export it again.", Describe(w.record), b.OriginId)
	}
	return err
}

// inherit works a record that another request booked in this life.
func (w *booking) inherit(ctx context.Context, b *tiebackv1.Booking, theirs order.Key) (*tiebackv1.Booking, error) {
	if theirs > w.asked.Order {
		return nil, overtaken(w.record)
	}
	gone, err := w.gone(ctx, w.record.Entity, b.OriginId)
	if err != nil {
		return nil, err
	}
	if gone { // Procore never had a link to it, so nobody could have reset it
		if err := w.NextGeneration(ctx, theirs, w.record.Entity, w.record.ProcoreId); err != nil {
			return nil, err
		}
		return w.Book(ctx, w.asked, w.record)
	}
	change := proto.CloneOf(w.record)
	change.OriginId = b.OriginId
	return w.Book(ctx, w.asked, change)
}

// gone says whether a booking was taken out of the ERP since. An ERP that does not tell is
// taken to have it.
func (e *ERP) gone(ctx context.Context, entity tiebackv1.Entity, originID string) (bool, error) {
	if _, can, err := e.can(ctx, entity); err != nil || !can.GetState() {
		return false, err
	}
	state, err := e.State(ctx, entity, originID)
	return state == tiebackv1.RecordState_RECORD_STATE_DELETED || state == tiebackv1.RecordState_RECORD_STATE_UNKNOWN, err
}

// same adopts the booking of a record that can't be changed where there is nothing to change:
// Procore refused a mark of it, and the user exports it once more.
func (w *booking) same(ctx context.Context, refusal error) (*tiebackv1.Booking, error) {
	if fault.ClassOf(refusal) != fault.Permanent {
		return nil, refusal
	}
	b, err := w.find(ctx, w.key(), w.record.Entity)
	if err != nil {
		return nil, err
	}
	if b.GetOriginId() != w.record.OriginId || !sameContent(b, w.record) {
		return nil, refusal
	}
	return b, w.end(ctx, b)
}

// write books the record under key, or finds it booked. An answer that was lost is looked up
// by key before the same is sent again.
func (w *booking) write(ctx context.Context, key string) (*tiebackv1.Booking, error) {
	if w.asked.Redelivered {
		if b, err := w.find(ctx, key, w.record.Entity); b != nil || err != nil {
			return b, err
		}
	}
	if w.asked.BeforeWrite != nil {
		if err := w.asked.BeforeWrite(ctx); err != nil {
			return nil, err
		}
	}
	b, err := w.put(ctx, key)
	if fault.ClassOf(err) == fault.Ambiguous && ctx.Err() == nil {
		b, err = w.lookUp(ctx, key, err)
	}
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "request" {
		err = overtaken(w.record)
	}
	return b, err
}

// lookUp finds out what became of a write whose answer was lost, and makes it again if it was
// not booked. A refusal of the second is looked up, too: it may be the first that it meets.
func (w *booking) lookUp(ctx context.Context, key string, lost error) (*tiebackv1.Booking, error) {
	w.Log.Warn("looking up what became of a write", zap.Int64("company", w.Company), zap.String("key", key), zap.Error(lost))
	found, err := w.find(ctx, key, w.record.Entity)
	if found != nil {
		return found, nil
	}
	if err != nil {
		return nil, lost // looked up again when the event comes back
	}
	b, err := w.put(ctx, key)
	if fault.ClassOf(err) != fault.Permanent {
		return b, err
	}
	if found, findErr := w.find(ctx, key, w.record.Entity); found != nil || findErr != nil {
		return found, findErr
	}
	return nil, err
}

func (w *booking) put(ctx context.Context, key string) (*tiebackv1.Booking, error) {
	a, err := call(ctx, w.ERP, "put", writes, &tiebackv1.PutRequest{
		CompanyId: w.Company, Key: key, Record: w.record, Request: w.asked.Order.Request(), Order: string(w.asked.Order), Stamp: stampOf(w.asked.Order, w.record),
	}, w.driver.Put)
	if err == nil {
		w.recent.keep(key, a.Booking)
	}
	return a.GetBooking(), err
}

// Booked is the booking of a record of Procore in its present life; nil: the ERP never booked it,
// or has it no more. It counts from the moment the ERP has it, whatever Procore was told of it, and
// also where Procore refused its mark. A repeated call costs one call of the driver.
func (e *ERP) Booked(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (*tiebackv1.Booking, error) {
	if _, can, err := e.can(ctx, entity); err != nil || !can.GetPut() {
		return nil, err
	}
	life, err := e.Generation(ctx, entity, procoreID)
	if err != nil {
		return nil, err
	}
	b, err := e.find(ctx, Key(e.Company, entity, procoreID, life), entity)
	if b == nil || err != nil {
		return nil, err
	}
	if gone, err := e.gone(ctx, entity, b.OriginId); gone || err != nil {
		return nil, err
	}
	return b, nil
}

// find gives the booking of a key; nil: never booked. What a key was booked as never changes,
// so it is asked once: a large event that is throttled again and again gets on each time.
func (e *ERP) find(ctx context.Context, key string, entity tiebackv1.Entity) (*tiebackv1.Booking, error) {
	if b := e.recent.get(key); b != nil {
		return b, nil
	}
	a, err := call(ctx, e, "find", reads, &tiebackv1.FindRequest{CompanyId: e.Company, Key: key, Entity: entity}, e.driver.Find)
	e.recent.keep(key, a.GetBooking())
	return a.GetBooking(), err
}

func overtaken(r *tiebackv1.Record) error {
	return fault.Permanentf("A newer request has already changed %s in your ERP system, so this one was not carried out.", Describe(r))
}

// orderOf is the order of the request that a stamp names; "": it names none.
func orderOf(stamp string) order.Key {
	request, _, _ := strings.Cut(stamp, ":")
	return order.Key(request)
}
