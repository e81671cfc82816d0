package endtoend

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/status"
	"github.com/tieback/tieback/services/tieback/trace"
)

// Who may only do what the operators' command line may looks at everything, and is refused nothing.
func TestStatusAndTraceNeedNoFurtherRight(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.streams(0)
	w := &world{T: t}
	ours, err := bus.ConnectReadOnly(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key("tieback"), Name: "tieback", Log: zap.NewNop()})
	w.must(err)
	defer ours.Close()
	writer, err := bus.Connect(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key("tieback"), Name: "tieback", TopologyManaged: true, Log: zap.NewNop()})
	w.must(err)
	defer writer.Close()
	for clicked := range int64(4) {
		w.must(writer.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, clicked+1), &tiebackv1.Delivery{
			CompanyId: 7, ErpRequestId: clicked + 1, EventId: "1", OccurredAt: timestamppb.Now(), ReceivedAt: timestamppb.Now(),
		}))
	}
	fetcher, err := bus.Connect(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key("fetcher"), Name: "fetcher", TopologyManaged: true, Log: zap.NewNop()})
	w.must(err)
	defer fetcher.Close()
	quota, err := fetcher.OpenQuota(t.Context(), 1)
	w.must(err)
	_, _, err = quota.Swap(t.Context(), strconv.Itoa(7), []byte(`{"hour":{"limit":3600,"left":3120}}`), 0)
	w.must(err)
	c, err := fetcher.JetStream().Consumer(t.Context(), bus.Delivery.Stream(), "fetcher")
	w.must(err)
	one, err := c.Fetch(1)
	w.must(err)
	for range one.Messages() { // and it is never heard of again
	}
	o := status.Options{Companies: map[int64]string{7: "Acme", 8: ""}, Clients: map[int64]*company.Client{7: {}}, Tail: 2}
	o.Quota, err = ours.OpenQuota(t.Context(), 1)
	w.must(err)
	r, err := status.New(ours, o).Look(t.Context())
	w.must(err)
	if q := queueOf(r, "fetcher"); len(r.Unasked) > 0 || q.Out != 1 || q.Waiting != 3 || q.Oldest == nil || companyOf(r, 7).Unfinished != 4 || !strings.Contains(strings.Join(r.Notes, " "), "client's secret") /* the value was read */ {
		t.Errorf("it stands at %s", w.json(r))
	}
	have, err := request.Companies(t.Context(), ours, 1, nil)
	if err != nil || !slices.Equal(have, []int64{7}) {
		t.Errorf("request 1 is of %v, %v", have, err)
	}
	for clicked, handed := range map[int64]request.DeliveryState{1: request.Delivered, 2: request.Queued} {
		s, err := trace.Read(t.Context(), ours, trace.Options{Company: 7, Request: clicked})
		if err != nil || len(s.Unread) > 0 || s.Class != request.Working || s.Current == nil || s.Current.Handed != handed {
			t.Errorf("the story of request %d is %s, %v", clicked, w.json(s), err)
		}
	}
	for _, service := range topology.Users() {
		if !topology.CallsProcore(service) {
			continue
		}
		b, err := bus.Connect(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key(service), Name: service, TopologyManaged: true, Log: zap.NewNop()})
		w.must(err)
		noted := trouble.Of(8, fault.From(fault.FromERP, errors.New("away")), time.Now())
		w.must(state.Of(b).SaveTrouble(t.Context(), noted, time.Minute))
		if got, known, err := state.Of(b).TroubleOf(t.Context(), 8, fault.FromERP); err != nil || !known || got.Error != "away" {
			t.Errorf("%s notes a trouble as %+v, %v", service, got, err)
		}
		r, err := status.New(ours, o).Look(t.Context())
		if c := companyOf(r, 8); err != nil || len(c.Troubles) != 1 || c.Troubles[0].Error != "away" {
			t.Errorf("of what %s notes status shows %+v, %v", service, c.Troubles, err)
		}
		w.must(state.Of(b).ClearTrouble(t.Context(), noted))
		if r, err := status.New(ours, o).Look(t.Context()); err != nil || len(companyOf(r, 8).Troubles) > 0 {
			t.Errorf("what %s has cleared is shown, %v", service, err)
		}
		b.Close()
	}
	if v := violations(g.said.String()); len(v) > 0 {
		t.Errorf("the broker refused:\n%s", strings.Join(v, "\n"))
	}
}
