package endtoend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/services/sandbox"
)

// A thief of the key of sweep writes the quota bucket as fast as the broker takes it: values that say that no call is
// left, values without sense, and other keys until the bucket is full. Two services make their calls all the same.
func TestAThiefOfAKeyFillsTheQuotaBucketAndStopsNobody(t *testing.T) {
	t.Parallel()
	const calls = 100
	w := newWorld(t, setup{noHooks: true, limits: sandbox.Config{HourlyLimit: 100_000, SpikeLimit: 10_000}})
	g := newGuarded(t)
	g.streams(0)
	var sessions []*procore.Session
	for _, service := range []string{"fetcher", "export"} {
		p := w.processOf(g, service)
		w.must(p.Connect(t.Context(), bus.Options{URL: g.url, Name: service}))
		t.Cleanup(p.Bus.Close)
		sessions = append(sessions, w.session(p.Procore, firstCompany))
	}
	ctx, stop := context.WithCancel(t.Context())
	var thief sync.WaitGroup
	defer thief.Wait()
	defer stop()
	nc := g.as("sweep")
	t.Cleanup(nc.Close)
	key := "$KV.tieback-quota." + procore.StoreKey(firstCompany, "")
	inAnHour := time.Now().Add(time.Hour).UnixMilli()
	hostile := []string{
		fmt.Sprintf(`{"blocked":%d,"asked":3600000}`, inAnHour),
		fmt.Sprintf(`{"value":{"hour":{"limit":1000,"left":0,"ends":%d}},"after":1,"mac":"AAAA"}`, inAnHour),
		"junk", strings.Repeat("x", 1<<20),
	}
	w.must(nc.Publish(key, []byte(hostile[0]))) // before any call
	w.must(nc.Flush())
	thief.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = nc.Publish(key, []byte(hostile[i%3]))
			if i%50 == 0 { // to fill it
				_ = nc.Publish(fmt.Sprintf("$KV.tieback-quota.x%d", i), []byte(hostile[3]))
			}
			if i%100 == 0 {
				_ = nc.FlushTimeout(time.Second)
			}
		}
	})
	made := make(chan int, len(sessions))
	for _, s := range sessions {
		n := 0
		limited, cancel := context.WithTimeout(ctx, patience)
		go func() {
			defer cancel()
			obey(limited, s, func() {
				if n++; n == calls {
					cancel()
				}
			})
			made <- n
		}()
	}
	for range sessions {
		if n := <-made; n < calls {
			t.Errorf("a service made %d of %d calls", n, calls)
		}
	}
	// The bucket has an end, and what is too large for a value is refused.
	s, err := g.owner.Stream(t.Context(), "KV_tieback-quota")
	w.must(err)
	info, err := s.Info(t.Context())
	w.must(err)
	if most := uint64(info.Config.MaxBytes); info.Config.MaxBytes <= 0 || info.State.Bytes > most { //nolint:gosec // a positive number
		t.Errorf("the bucket has %d bytes of %d", info.State.Bytes, info.Config.MaxBytes)
	}
	ack, err := nc.Request(key, make([]byte, 2<<20), 10*time.Second)
	w.must(err)
	if !strings.Contains(string(ack.Data), "error") {
		t.Errorf("a value of 2 MiB is answered %s", ack.Data)
	}
}
