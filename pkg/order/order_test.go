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

// A key without a fraction may be anywhere in its second.
func TestAfterIsCertain(t *testing.T) {
	second := time.Date(2026, 12, 1, 10, 0, 59, 0, time.UTC)
	at := func(d time.Duration, id int64) order.Key { return order.New(second.Add(d), id) }
	before, next := at(-time.Microsecond, 9), at(time.Second, 1)
	whole, wholeToo, early, late := at(0, 5), at(0, 6), at(time.Microsecond, 1), at(time.Second-time.Microsecond, math.MaxInt64)
	for i, c := range []struct {
		a, b  order.Key
		after bool
	}{
		{late, early, true}, {whole, before, true}, {next, whole, true}, {next, late, true}, {early, before, true}, {whole, "", true}, {early, "", true},
		{whole, whole, false}, {early, early, false}, {"", "", false},
		{early, whole, false}, {late, whole, false}, {whole, early, false}, {whole, late, false}, {whole, wholeToo, false}, {wholeToo, whole, false},
	} {
		if c.a.After(c.b) != c.after || c.after && c.b.After(c.a) {
			t.Errorf("%d: %q after %q: %v, want %v", i, c.a, c.b, c.a.After(c.b), c.after)
		}
	}
	if l := whole.Latest(); len(l) != len(whole) || l.Request() != 5 || l <= late || l >= next || l.Latest() != l || early.Latest() != early {
		t.Errorf("the latest of %q is %q", whole, l)
	}
}

// After the broker has lost a delivery, the time of its request is known only in seconds.
func TestSameRequestWithAndWithoutFraction(t *testing.T) {
	at := time.Date(2026, 12, 1, 10, 0, 0, 123456000, time.UTC)
	for _, c := range []struct {
		a, b order.Key
		want bool
	}{
		{order.New(at, 7), order.New(at.Truncate(time.Second), 7), true},
		{order.New(at, 7).Latest(), order.New(at.Truncate(time.Second), 7).Latest(), true},
		{order.New(at, 7), order.New(at, 8), false},
		{order.New(at, 7), "", false},
		{"", "", false},
	} {
		if c.a.Same(c.b) != c.want || c.b.Same(c.a) != c.want {
			t.Errorf("%q and %q are the same: %v, want %v", c.a, c.b, !c.want, c.want)
		}
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

func TestKeyHasFixedWidth(t *testing.T) {
	at := time.Date(2026, 12, 1, 10, 0, 0, 123456000, time.UTC)
	for id, want := range map[int64]order.Key{
		0: "20261201T100000.123456Z-0000000000000000000", 598134325841112: "20261201T100000.123456Z-0000598134325841112",
		math.MaxInt64: "20261201T100000.123456Z-9223372036854775807",
	} {
		if got := order.New(at, id); got != want {
			t.Errorf("%d: %s, want %s", id, got, want)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		order.New(at, 598134325841112)
	}
}
