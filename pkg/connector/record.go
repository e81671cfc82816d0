package connector

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// stampOf names a booking's request and content, <order>:<hash>, so that a later request
// for the same record knows whether the ERP has what it says.
func stampOf(request order.Key, r *tiebackv1.Record) string {
	return string(request) + ":" + contentOf(r)
}

// contentOf hashes what a record says, without what Procore learned from us: the origin ids
// and the origin data that mark it as synced.
func contentOf(r *tiebackv1.Record) string {
	r = proto.CloneOf(r)
	r.OriginId, r.OriginData = "", ""
	for _, l := range r.Lines {
		l.OriginId = ""
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil { // a text that is not UTF-8: the driver will refuse it
		raw = []byte(r.String())
	}
	return fmt.Sprintf("%x", sha256.Sum256(raw))
}

// sameContent says whether a booking was booked from what r says. A code that the ERP gave
// comes back with the next export.
func sameContent(b *tiebackv1.Booking, r *tiebackv1.Record) bool {
	_, booked, ok := strings.Cut(b.GetStamp(), ":")
	if !ok || booked == contentOf(r) {
		return ok
	}
	if r.Code != b.OriginCode {
		return false
	}
	uncoded := proto.CloneOf(r)
	uncoded.Code = ""
	return booked == contentOf(uncoded)
}

func validate(r *tiebackv1.Record) error {
	if r.Entity == tiebackv1.Entity_ENTITY_UNSPECIFIED || r.ProcoreId == 0 {
		return fault.New(fault.Permanent, fmt.Errorf("record without entity or Procore id: %v", r))
	}
	type amount struct{ field, value string }
	amounts := []amount{{"amount", r.Amount}, {"actual amount", r.ActualAmount}, {"tax", r.TaxAmount}, {"retainage percent", r.RetainagePercent}}
	for _, l := range r.Lines {
		n := fmt.Sprintf("line %d, ", l.Position)
		amounts = append(amounts, amount{n + "amount", l.Amount}, amount{n + "quantity", l.Quantity}, amount{n + "unit cost", l.UnitCost},
			amount{n + "tax", l.TaxAmount}, amount{n + "retainage", l.Retainage}, amount{n + "retainage percent", l.RetainagePercent})
	}
	for _, a := range amounts {
		if a.value == "" {
			continue
		}
		if _, err := decimal.NewFromString(a.value); err != nil {
			return fault.Refused(a.field, "The %s of %s is %q, which is not an amount. Correct it in Procore and export again.", a.field, Describe(r), a.value)
		}
	}
	return nil
}

// recent are bookings that the driver told of, by key. It forgets all when it is full.
type recent struct {
	mu       sync.Mutex
	bookings map[string]*tiebackv1.Booking
}

// recentMost bounds what is kept: some megabytes a company.
const recentMost = 10_000

func (r *recent) keep(key string, b *tiebackv1.Booking) {
	if b == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bookings == nil || len(r.bookings) >= recentMost {
		r.bookings = map[string]*tiebackv1.Booking{}
	}
	r.bookings[key] = b
}

func (r *recent) get(key string) *tiebackv1.Booking {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bookings[key]
}
