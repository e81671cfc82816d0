package endtoend

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Full streams take no new delivery, and say why; what is under way still comes to its end, and
// nothing that was taken is dropped for what is new.
func TestFullStreamsRefuseNewWorkAndFinishTheOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	b, err := bus.Connect(t.Context(), bus.Options{InProcess: srv.InProcess(), Name: "test", MaxBytes: 40_000, Log: zap.NewNop()})
	w.must(err)
	t.Cleanup(b.Close)
	taken := int64(0)
	for err == nil && taken < 10_000 {
		ctx, done := context.WithTimeout(t.Context(), 2*time.Second)
		err = b.PublishOnce(ctx, bus.For(bus.Delivery, "", firstCompany, taken+1), &tiebackv1.Delivery{
			CompanyId: firstCompany, ErpRequestId: taken + 1, EventId: string(make([]byte, 4000)),
		})
		done()
		if err == nil {
			taken++
		}
		if taken > 7 { // a look holds for a while
			time.Sleep(2100 * time.Millisecond)
		}
	}
	if fault.ClassOf(err) != fault.Throttled || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("after %d deliveries: %v, want a refusal that says why", taken, err)
	}
	if err := b.PublishOnce(t.Context(), bus.For(bus.Outcome, "create_vendor", firstCompany, 1), &tiebackv1.Outcome{CompanyId: firstCompany, ErpRequestId: 1}); err != nil {
		t.Errorf("the end of what is under way was refused: %v", err)
	}
	for request := range taken {
		if has, err := b.Has(t.Context(), bus.For(bus.Delivery, "", firstCompany, request+1)); err != nil || !has {
			t.Errorf("delivery %d was taken and is gone (%v)", request+1, err)
		}
	}
}
