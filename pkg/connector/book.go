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

// RequestRef identifies the ERP request that a booking is made for.
type RequestRef struct {
	Order       order.Key
	Redelivered bool // an earlier attempt may have sent the booking
	// BeforeWrite is called before a write is sent, if no earlier booking was found. If it returns an error,
	// the booking ends with that error. nil: nothing is called.
	BeforeWrite func(context.Context) error
}

// Book books a record for an ERP request, once however often it is called. A record without an origin id is
// created; one with an origin id is changed in place.
//
//	may have been sent before       looked up by key before anything is sent
//	the answer was lost             looked up by key, then sent again with the same key, once
//	booked by an earlier request    changed in place; or adopted, if it can't be changed and has the same content
//	  and deleted in the ERP since  booked again in its next generation
//	booked by a later request, or   refused
//	  by one of unknown order, see
//	  order.Key
//
// Besides the ERP's own permanent errors, Book returns a permanent error for a malformed record, a record that the
// ERP does not take, and a request that a newer request has superseded.
func (e *ERP) Book(ctx context.Context, ref RequestRef, r *tiebackv1.Record) (*tiebackv1.Booking, error) {
	if err := validate(r); err != nil {
		return nil, err
	}
	if err := e.checkMoney(ctx, r); err != nil {
		return nil, err
	}
	w := &booking{ERP: e, ref: ref, record: r}
	if r.OriginId != "" {
		return w.change(ctx)
	}
	return w.create(ctx)
}

// booking is a record that is being booked.
type booking struct {
	*ERP
	ref        RequestRef
	record     *tiebackv1.Record
	generation order.Key
}

func (w *booking) create(ctx context.Context) (*tiebackv1.Booking, error) {
	if err := w.checkPut(ctx, w.record); err != nil {
		return nil, err
	}
	if err := w.loadGeneration(ctx); err != nil {
		return nil, err
	}
	b, err := w.write(ctx, w.key())
	if err != nil {
		return nil, err
	}
	if bookedBy := orderOf(b.GetStamp()); bookedBy != "" && !bookedBy.Same(w.ref.Order) {
		return w.rebook(ctx, b, bookedBy)
	}
	return b, w.verify(ctx, b)
}

func (w *booking) change(ctx context.Context) (*tiebackv1.Booking, error) {
	if err := w.loadGeneration(ctx); err != nil {
		return nil, err
	}
	if refusal := w.checkUpdate(ctx, w.record); refusal != nil {
		return w.adopt(ctx, refusal)
	}
	b, err := w.write(ctx, fmt.Sprintf("%s/%d", w.key(), w.ref.Order.Request())) // each change is a separate write
	if err != nil {
		return nil, err
	}
	if b.GetOriginId() != w.record.OriginId {
		return nil, fault.New(fault.Permanent, fmt.Errorf("connector changed %q when asked to change %s", b.GetOriginId(), Describe(w.record)))
	}
	return b, w.verify(ctx, b)
}

func (w *booking) key() string {
	return Key(w.Company, w.record.Entity, w.record.ProcoreId, w.generation)
}

// loadGeneration loads the generation that the request books into. The request is refused unless it was created
// after the last unlink or reset.
func (w *booking) loadGeneration(ctx context.Context) (err error) {
	w.generation, err = w.Generation(ctx, w.record.Entity, w.record.ProcoreId)
	switch {
	case err != nil || w.ref.Order.After(w.generation):
		return err
	case w.ref.Redelivered:
		return fault.Permanentf("%s has already unlinked or reset %s. If this request booked it before, it is still in your ERP system. Check it there, and delete it if you do not want it.", newerRequest, Describe(w.record))
	}
	return fault.Permanentf("%s has already unlinked or reset %s, so this request was not processed. If you want it in your ERP system, export it again.", newerRequest, Describe(w.record))
}

// verify checks that the booking is complete, and that no unlink or reset happened while it was made.
func (w *booking) verify(ctx context.Context, b *tiebackv1.Booking) error {
	if got := len(b.GetLineOriginIds()); got != len(w.record.Lines) || b.GetOriginId() == "" {
		return fault.New(fault.Permanent, fmt.Errorf("connector booked %s as %q with %d of %d lines", Describe(w.record), b.GetOriginId(), got, len(w.record.Lines)))
	}
	now, err := w.Generation(ctx, w.record.Entity, w.record.ProcoreId)
	if err == nil && now != w.generation {
		err = fault.Permanentf("%s unlinked or reset %s while it was being exported. It is in your ERP system as %s. Delete it there if you do not want it, or export it again.", newerRequest, Describe(w.record), b.OriginId)
	}
	return err
}

// rebook handles a record that another request booked in this generation.
func (w *booking) rebook(ctx context.Context, b *tiebackv1.Booking, bookedBy order.Key) (*tiebackv1.Booking, error) {
	if !w.ref.Order.After(bookedBy) {
		return nil, superseded(w.record)
	}
	gone, err := w.gone(ctx, w.record.Entity, b.OriginId)
	if err != nil {
		return nil, err
	}
	if gone { // Procore has no link that a user could unlink or reset, so the next generation starts here
		if !bookedBy.After(w.generation) || bookedBy.Same(w.generation) { // it would start again and again
			return nil, fault.New(fault.Permanent, fmt.Errorf("connector found %s under the key %s with the stamp of request %d, which is not newer than the generation", Describe(w.record), w.key(), bookedBy.Request()))
		}
		if err := w.NextGeneration(ctx, bookedBy, w.record.Entity, w.record.ProcoreId); err != nil {
			return nil, err
		}
		return w.Book(ctx, w.ref, w.record)
	}
	change := proto.CloneOf(w.record)
	change.OriginId = b.OriginId
	return w.Book(ctx, w.ref, change)
}

// gone reports whether a booking was removed from the ERP. An ERP that does not report states is assumed to
// have the booking.
func (e *ERP) gone(ctx context.Context, entity tiebackv1.Entity, originID string) (bool, error) {
	if _, can, err := e.can(ctx, entity); err != nil || !can.GetState() {
		return false, err
	}
	state, err := e.State(ctx, entity, originID)
	return state == tiebackv1.RecordState_RECORD_STATE_DELETED || state == tiebackv1.RecordState_RECORD_STATE_UNKNOWN, err
}

// adopt returns the booking of a record that can't be changed, if the content is the same. This happens if
// Procore refused one of its marks and the user exports it again.
func (w *booking) adopt(ctx context.Context, refusal error) (*tiebackv1.Booking, error) {
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
	return b, w.verify(ctx, b)
}

// write books the record under key, or finds its booking. If the answer is lost, it looks the booking up by
// key before it sends the same request again.
func (w *booking) write(ctx context.Context, key string) (*tiebackv1.Booking, error) {
	if w.ref.Redelivered {
		if b, err := w.find(ctx, key, w.record.Entity); b != nil || err != nil {
			return b, err
		}
	}
	if w.ref.BeforeWrite != nil {
		if err := w.ref.BeforeWrite(ctx); err != nil {
			return nil, err
		}
	}
	b, err := w.put(ctx, key)
	if fault.ClassOf(err) == fault.Ambiguous && ctx.Err() == nil {
		b, err = w.lookUp(ctx, key, err)
	}
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "request" {
		err = superseded(w.record)
	}
	return b, err
}

// lookUp looks up a write whose answer was lost, and sends it again if it was not made. If the second
// attempt is refused, it looks the booking up once more, because the first attempt may have arrived in the
// meantime.
func (w *booking) lookUp(ctx context.Context, key string, lost error) (*tiebackv1.Booking, error) {
	w.Log.Warn("looking up a write whose answer was lost", zap.Int64("company", w.Company), zap.String("key", key), zap.Error(lost))
	found, err := w.find(ctx, key, w.record.Entity)
	if found != nil {
		return found, nil
	}
	if err != nil {
		return nil, lost // looked up again when the event is retried
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
	a, err := call(ctx, w.ERP, "put", writeCall, &tiebackv1.PutRequest{
		CompanyId: w.Company, Key: key, Record: w.record, Request: w.ref.Order.Request(),
		Order: string(w.ref.Order), OrderLatest: string(w.ref.Order.Latest()), Stamp: stampOf(w.ref.Order, w.record),
	}, w.driver.Put)
	if err == nil {
		w.recent.keep(key, a.Booking)
	}
	return a.GetBooking(), err
}

// Booked returns the booking of a Procore record in its current generation, or nil if the ERP never booked it
// or no longer has it. The booking counts as soon as the ERP has it, whatever was reported to Procore, and
// even if Procore refused its mark. A repeated call costs one call of the driver.
func (e *ERP) Booked(ctx context.Context, entity tiebackv1.Entity, procoreID int64) (*tiebackv1.Booking, error) {
	if _, can, err := e.can(ctx, entity); err != nil || !can.GetPut() {
		return nil, err
	}
	generation, err := e.Generation(ctx, entity, procoreID)
	if err != nil {
		return nil, err
	}
	b, err := e.find(ctx, Key(e.Company, entity, procoreID, generation), entity)
	if b == nil || err != nil {
		return nil, err
	}
	if gone, err := e.gone(ctx, entity, b.OriginId); gone || err != nil {
		return nil, err
	}
	return b, nil
}

// find returns the booking of a key, or nil if it was never booked. The booking of a key never changes, so
// it is cached. This lets a large event that is throttled again and again get further each time.
func (e *ERP) find(ctx context.Context, key string, entity tiebackv1.Entity) (*tiebackv1.Booking, error) {
	if b := e.recent.get(key); b != nil {
		return b, nil
	}
	a, err := call(ctx, e, "find", readCall, &tiebackv1.FindRequest{CompanyId: e.Company, Key: key, Entity: entity}, e.driver.Find)
	e.recent.keep(key, a.GetBooking())
	return a.GetBooking(), err
}

// newerRequest begins the refusal of a request because of another request, which is newer or of unknown order. The
// accountant need not know which, because the advice is the same.
const newerRequest = "A newer request, or one made in the same second,"

func superseded(r *tiebackv1.Record) error {
	return fault.Permanentf("%s has already changed %s in your ERP system, so this request was not processed. If it is not up to date there, export it again.", newerRequest, Describe(r))
}

// orderOf returns the order of the request in a stamp, or "" if the stamp has no order.
func orderOf(stamp string) order.Key {
	request, _, _ := strings.Cut(stamp, ":")
	return order.Key(request)
}
