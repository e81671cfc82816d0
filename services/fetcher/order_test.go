package fetcher

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The order of requests is taken from their deliveries, because created_at has no fraction of a second.
func TestRequestedAt(t *testing.T) {
	at := func(s string) *timestamppb.Timestamp {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return timestamppb.New(when)
	}
	clicked, received := at("2026-12-01T10:00:00.123456Z"), at("2026-12-01T10:05:00Z")
	const raw = `{"id":9,"company_id":7,"request_name":"create_vendor","created_at":"2026-12-01T10:00:00Z"}`
	const bare = `{"id":9,"company_id":7,"request_name":"create_vendor"}`
	for name, c := range map[string]struct {
		delivery *tiebackv1.Delivery
		raw      string
		want     string
	}{
		"a delivery":                    {&tiebackv1.Delivery{EventId: "01J", OccurredAt: clicked}, raw, "20261201T100000.123456Z-0000000000000000009"},
		"a delivery without a time":     {&tiebackv1.Delivery{EventId: "01J"}, raw, "20261201T100000.000000Z-0000000000000000009"},
		"an open detail":                {&tiebackv1.Delivery{OccurredAt: at("2026-12-01T10:00:01Z")}, raw, "20261201T100000.000000Z-0000000000000000009"},
		"an open detail, no created_at": {&tiebackv1.Delivery{OccurredAt: at("2026-12-01T10:00:01Z")}, bare, "20261201T100001.000000Z-0000000000000000009"},
		"only the time it was received": {&tiebackv1.Delivery{EventId: "01J"}, bare, "20261201T100500.000000Z-0000000000000000009"},
	} {
		c.delivery.CompanyId, c.delivery.ErpRequestId, c.delivery.ReceivedAt = 7, 9, received
		e, err := read(c.delivery, []byte(c.raw))
		if err != nil {
			t.Fatal(err)
		}
		if got := order.Of(e); string(got) != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
