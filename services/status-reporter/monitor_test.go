package statusreporter

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Times in messages are in the company's time zone.
func TestZone(t *testing.T) {
	acme := company.New(7, company.Secrets{})
	var err error
	if acme.Zone, err = time.LoadLocation("America/Chicago"); err != nil {
		t.Fatal(err)
	}
	s := &Service{Deps: Deps{Companies: company.Set{7: acme}}}
	at := time.Date(2026, time.December, 1, 1, 30, 0, 0, time.UTC)
	for id, want := range map[int64]string{7: "19:30 CST", 8: "01:30 UTC"} {
		if got := clock(at, s.zone(id), at); got != want {
			t.Errorf("company %d: %s, want %s", id, got, want)
		}
	}
}

// The deadline of an event that was restored from a backup counts from the restore. The event may have been finished after the backup,
// and would become a dead letter at once.
func TestDeadlineOfARestoredEvent(t *testing.T) {
	o := bus.Options{URL: bustest.Start(t, server.Options{Port: -1}).ClientURL(), Log: zap.NewNop()}
	if err := bus.SetUp(t.Context(), o, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	event := bus.For(bus.Event, "create_vendor", 7, 1)
	if err := b.PublishOnce(t.Context(), event, &tiebackv1.Event{
		Type: "create_vendor", CompanyId: 7, ErpRequestId: 1, Payload: []byte(`{"id": 1, "request_data": {"request_detail_id": 11}}`),
	}); err != nil {
		t.Fatal(err)
	}
	stored, now := time.Now(), time.Time{}
	s := &Service{Deps: Deps{Bus: b, Log: zap.NewNop(), Slow: time.Minute, Deadlines: request.Deadlines{Interactive: 15 * time.Minute, Sync: time.Hour}}}
	m := s.newSlowMonitor()
	m.expired = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "expired"}, []string{"type"})
	m.report = func(context.Context, *tiebackv1.Outcome) error { return nil }
	m.now, m.created = func() time.Time { return now }, stored.Add(24*time.Hour)
	for _, c := range []struct {
		afterRestore time.Duration
		expired      bool
	}{{0, false}, {14 * time.Minute, false}, {16 * time.Minute, true}} {
		now = m.created.Add(c.afterRestore)
		if err := m.check(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.reports.Wait()
		if dead, err := b.Has(t.Context(), bus.For(bus.Dead, "create_vendor", 7, 1)); err != nil || dead != c.expired {
			t.Errorf("%v after the restore: dead letter %v, %v; want %v", c.afterRestore, dead, err, c.expired)
		}
	}
}
