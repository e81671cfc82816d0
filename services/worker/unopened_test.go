package worker

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// idle is a driver that is only opened and closed.
type idle struct{ connector.Driver }

func (idle) Close() error { return nil }

// A company whose connector refuses its settings does not stop the others. Its events fail with the reason,
// and are retried.
func TestUnopenedConnectorDoesNotStopOtherCompanies(t *testing.T) {
	b := &bus.Bus{} // not used
	set := company.Set{}
	for _, id := range []int64{7, 8} {
		set[id] = company.New(id, company.Secrets{})
		set[id].Driver = "picky"
	}
	client, err := procore.New(procore.Config{APIURL: "http://procore.invalid", LoginURL: "http://procore.invalid"}, set, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	refuses := map[int64]bool{8: true}
	drivers := connector.Drivers{"picky": func(_ context.Context, id int64, _ map[string]string) (connector.Driver, error) {
		if refuses[id] {
			return nil, errors.New("connector.url: is missing")
		}
		return idle{}, nil
	}}
	handlers := Handlers{}
	for _, row := range catalogue.Of(catalogue.Export) {
		handlers[row.Name] = func(context.Context, *Task) ([]*tiebackv1.CloseOut, error) { return nil, nil }
	}
	deps := Deps{Bus: b, Companies: set, Procore: client, ERPs: connector.NewShared(drivers), Log: zap.NewNop()}
	s, err := New(t.Context(), catalogue.Export, handlers, deps)
	if err != nil {
		t.Fatal(err)
	}
	task := func(id int64) (*Task, error) {
		data, err := proto.Marshal(&tiebackv1.Event{CompanyId: id, ErpRequestId: 1, Type: "create_vendor", Payload: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		return s.task(bus.Message{Subject: bus.For(bus.Event, "create_vendor", id, 1), Data: data})
	}
	if got, err := task(7); err != nil || got.ERP == nil {
		t.Errorf("the valid company: %v", err)
	}
	if _, err := task(8); fault.ClassOf(err) != fault.Transient || err == nil || !strings.Contains(err.Error(), "connector.url") {
		t.Errorf("the invalid company: %v; want a transient error with the reason", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	refuses[7] = true
	if _, err := New(t.Context(), catalogue.Export, handlers, deps); err == nil || !strings.Contains(err.Error(), "company 7") || !strings.Contains(err.Error(), "company 8") {
		t.Errorf("no company is left: %v", err)
	}
}
