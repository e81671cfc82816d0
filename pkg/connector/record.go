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

// stampOf returns the stamp of a booking: its request and a hash of its content, <order>:<hash>. A later
// request for the same record uses it to find out whether the ERP has the same content.
func stampOf(request order.Key, r *tiebackv1.Record) string {
	return string(request) + ":" + contentOf(r)
}

// contentOf hashes the content of a record without the origin ids and the origin data, which come from Tieback's marks.
func contentOf(r *tiebackv1.Record) string {
	r = proto.CloneOf(r)
	r.OriginId, r.OriginData = "", ""
	for _, l := range r.Lines {
		l.OriginId = ""
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil { // text that is not UTF-8: the driver will refuse it
		raw = []byte(r.String())
	}
	return fmt.Sprintf("%x", sha256.Sum256(raw))
}

// sameContent reports whether a booking was made from the content of r. The code may
// differ: if the ERP assigned it, the booking was made without a code, and the next export has it.
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

// recent caches bookings that the driver returned, by key. When it is full, it is cleared.
type recent struct {
	mu       sync.Mutex
	bookings map[string]*tiebackv1.Booking
}

// maxRecent bounds the cache to some megabytes per company.
const maxRecent = 10_000

func (r *recent) keep(key string, b *tiebackv1.Booking) {
	if b == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bookings == nil || len(r.bookings) >= maxRecent {
		r.bookings = map[string]*tiebackv1.Booking{}
	}
	r.bookings[key] = b
}

func (r *recent) get(key string) *tiebackv1.Booking {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bookings[key]
}
