package bustest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Full streams refuse new deliveries with a reason. Outcomes are still accepted, and no delivery is dropped.
func TestFullStreamsRefuseDeliveriesOnly(t *testing.T) {
	t.Parallel()
	o := bustest.Options(bustest.Start(t, server.Options{}))
	o.MaxBytes = 40_000
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	stored := int64(0)
	for err == nil && stored < 10_000 {
		ctx, done := context.WithTimeout(t.Context(), 2*time.Second)
		err = b.PublishOnce(ctx, bus.For(bus.Delivery, "", 7, stored+1), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: stored + 1, EventId: string(make([]byte, 4000))})
		done()
		if err == nil {
			stored++
		}
		if stored > 7 { // the size of the streams is read every 2 seconds
			time.Sleep(2100 * time.Millisecond)
		}
	}
	if fault.ClassOf(err) != fault.Throttled || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("after %d deliveries: %v, want a throttled error", stored, err)
	}
	if err := b.PublishOnce(t.Context(), bus.For(bus.Outcome, "create_vendor", 7, 1), &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 1}); err != nil {
		t.Errorf("an outcome was refused: %v", err)
	}
	for request := range stored {
		if has, err := b.Has(t.Context(), bus.For(bus.Delivery, "", 7, request+1)); err != nil || !has {
			t.Errorf("delivery %d was stored and is gone: %v", request+1, err)
		}
	}
}

// A key that may write the quota bucket can't fill the disk with it.
func TestQuotaBucketIsLimited(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	if _, err := b.OpenQuota(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(t.Context(), "$KV.tieback-quota.7", make([]byte, 2<<20)); err == nil {
		t.Error("a value of 2 MiB was stored")
	}
	s, err := b.JetStream().Stream(t.Context(), "KV_tieback-quota")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxBytes <= 0 {
		t.Errorf("the bucket may have %d bytes, want a limit", c.MaxBytes)
	}
}
