package dead_test

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/dead"
)

// A replay that is given up again is reported as such, although its request is closed as failed too,
// and the close-out is read first: the dead letters come after many of others.
func TestAReplayGivenUpAgainIsNotReportedAsClosed(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	desk := &dead.Resolver{Bus: b, Who: "test"}
	watch, err := desk.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closed, err := proto.Marshal(&tiebackv1.Outcome{ErpRequestId: 1})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3000 {
		if _, err := b.JetStream().PublishAsync(fmt.Sprintf("tb.dead.export.create_vendor.8.%d.1", n), nil); err != nil {
			t.Fatal(err)
		}
	}
	<-b.JetStream().PublishAsyncComplete()
	var replays []*tiebackv1.Resolution
	for n := range int64(40) {
		run := fmt.Sprint(n + 1)
		s := bus.For(bus.Event, "create_vendor", 7, n+1).WithRun(run)
		m := bus.Message{Subject: s, RawSubject: s.String(), Stream: bus.Event.Stream(), Sequence: uint64(n + 1), Data: []byte("x")}
		if err := b.DeadLetter(t.Context(), "export", m, fault.New(fault.Transient, errors.New("the ERP is down"))); err != nil {
			t.Fatal(err)
		}
		s.Kind = bus.Closed
		if _, err := b.JetStream().Publish(t.Context(), s.String(), closed); err != nil {
			t.Fatal(err)
		}
		replays = append(replays, &tiebackv1.Resolution{DeadLetter: uint64(n + 1), Subject: m.RawSubject})
	}
	ended := 0
	err = watch.Wait(t.Context(), replays, func(e dead.End) {
		ended++
		if e.Dead == nil {
			t.Errorf("the replay of dead letter %d was given up again, and is reported as closed", e.ID)
		}
	})
	if err != nil || ended != len(replays) {
		t.Errorf("%d of %d ended: %v", ended, len(replays), err)
	}
}
