package order_test

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestKeysSortByTimeThenID(t *testing.T) {
	click := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	zone := time.FixedZone("CST", -6*60*60)
	sorted := []order.Key{
		"",
		order.New(time.Time{}, 5),
		order.New(click, math.MaxInt64), // known only in seconds: before the others of its second
		order.New(click.Add(time.Microsecond), 9),
		order.New(click.Add(2*time.Microsecond), 10),
		order.New(click.Add(2*time.Microsecond).In(zone), 11),
		order.New(click.Add(time.Second), 1),
		order.New(click.AddDate(100, 0, 0), 1),
	}
	for i, k := range sorted[1:] {
		if sorted[i] >= k {
			t.Errorf("%q does not come before %q", sorted[i], k)
		}
		if len(k) != len("20261201T100000.123456Z-0000598134325841112") {
			t.Errorf("%q has %d bytes", k, len(k))
		}
	}
	if k := order.New(click.Add(999*time.Nanosecond), 1); k != order.New(click, 1) {
		t.Errorf("%q has more than microseconds", k)
	}
}

func TestInvalidTimeKeepsTheWidth(t *testing.T) {
	for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if k := order.New(at, 7); k != order.New(time.Time{}, 7) {
			t.Errorf("%v is %q", at, k)
		}
	}
}

func TestEventAndOutcomeHaveTheSameKey(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 12, 1, 10, 0, 0, 123456789, time.UTC))
	e := &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, RequestedAt: at}
	o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, RequestedAt: at}
	if k := order.Of(e); k != order.Of(o) || k != "20261201T100000.123456Z-0000000000000000012" || k.Request() != 12 {
		t.Errorf("%q and %q, request %d", k, order.Of(o), k.Request())
	}
	if k := order.Of(&tiebackv1.Event{ErpRequestId: 12}); k != order.New(time.Time{}, 12) {
		t.Errorf("without a time: %q", k)
	}
	if r := order.Key("").Request(); r != 0 {
		t.Errorf("the zero key has the request %d", r)
	}
}
