package endtoend

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/telemetry"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/worker"
)

// Each event expires while its worker processes it. If the ERP has booked anything, the worker publishes a late outcome, even
// if the rest was refused.
func TestPartialBookingAfterDeadlineIsReported(t *testing.T) {
	t.Parallel()
	srv, err := broker.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	b, err := bus.Connect(t.Context(), bus.Options{InProcess: srv.InProcess(), Name: "test", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)

	done := &tiebackv1.CloseOut{Status: tiebackv1.Status_STATUS_SUCCESS, RequestDetailId: 1}
	refused := &tiebackv1.CloseOut{Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{"No."}} // without a request detail
	cases := []struct {
		name string
		ends []*tiebackv1.CloseOut
		late bool // a late outcome is published
	}{
		{"everything was booked", []*tiebackv1.CloseOut{done}, true},
		{"a part was refused", []*tiebackv1.CloseOut{done, refused}, true},
		{"everything was refused", []*tiebackv1.CloseOut{refused}, false},
	}
	const kind = "create_vendor"
	subject := func(k bus.Kind, i int) bus.Subject { return bus.For(k, kind, 7, int64(i+1)) }
	handlers := worker.Handlers{}
	for _, row := range catalogue.Of(catalogue.Export) {
		handlers[row.Name] = func(ctx context.Context, task *worker.Task) ([]*tiebackv1.CloseOut, error) {
			i := int(task.Event.ErpRequestId) - 1
			m := bus.Message{Subject: subject(bus.Event, i), Stream: bus.Event.Stream(), Sequence: uint64(i + 1), Stored: time.Now()}
			failed := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: task.Event.ErpRequestId, Type: kind}
			if expired, err := request.Expire(ctx, b, m, failed, errors.New("not done in time")); err != nil || !expired {
				t.Error(expired, err)
			}
			return cases[i].ends, nil
		}
	}
	for i := range cases {
		data, err := proto.Marshal(&tiebackv1.Event{CompanyId: 7, ErpRequestId: int64(i + 1), Type: kind, Payload: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Publisher(bus.Event).Publish(t.Context(), bus.IfAbsent(&nats.Msg{Subject: subject(bus.Event, i).String(), Data: data})); err != nil {
			t.Fatal(err)
		}
	}
	export(t, b, handlers)
	for i, c := range cases {
		if late, err := b.Has(t.Context(), subject(bus.Outcome, i).Late()); err != nil || late != c.late {
			t.Errorf("%s: a late outcome: %v, %v; want %v", c.name, late, err, c.late)
		}
	}
}

// export runs the export worker for company 7 until it has finished all events.
func export(t *testing.T, b *bus.Bus, handlers worker.Handlers) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reg := prometheus.NewRegistry()
	set := company.Set{7: company.New(7, company.Secrets{})}
	set[7].Driver = "unused"
	client, err := procore.New(procore.Config{APIURL: "http://procore.invalid", LoginURL: "http://procore.invalid"}, set, reg)
	if err != nil {
		t.Fatal(err)
	}
	stages, err := telemetry.NewStages(reg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := worker.New(ctx, catalogue.Export, handlers, worker.Deps{
		Bus: b, Companies: set, Procore: client, Log: zap.NewNop(), Metrics: stages,
		ERPs: connector.NewShared(connector.Drivers{"unused": func(context.Context, int64, map[string]string) (connector.Driver, error) { return unused{}, nil }}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	last, err := b.LastSequence(ctx, bus.Event)
	for end := time.Now().Add(20 * time.Second); err == nil; {
		var floor uint64
		if floor, err = b.AckFloor(ctx, bus.Event, string(catalogue.Export)); floor >= last {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not finished in 20 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// unused is a driver that is only opened and closed.
type unused struct{ connector.Driver }

func (unused) Close() error { return nil }
