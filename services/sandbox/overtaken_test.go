package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Procore does not guarantee an order: some deliveries are late, and all are made.
func TestLateDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var came []int64
		sb := runSandbox(t, Config{Seed: 1, LateFraction: 0.5, LateBy: time.Second}, func(r *http.Request) (int, error) {
			body, _ := io.ReadAll(r.Body)
			var d struct {
				Request int64 `json:"resource_id"`
			}
			if err := json.Unmarshal(body, &d); err != nil {
				t.Error(err)
			}
			mu.Lock()
			came = append(came, d.Request)
			mu.Unlock()
			return 200, nil
		})
		for range 20 {
			press(t, sb, 1)
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if slices.IsSorted(came) {
			t.Errorf("all deliveries are in order: %v", came)
		}
		if slices.Sort(came); len(slices.Compact(came)) != 20 {
			t.Errorf("%d of 20 came", len(slices.Compact(came)))
		}
	})
}

// A rule with Seconds ends after them.
func TestFaultRuleEndsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb := New(Config{})
		if err := sb.Fail(FaultRule{Kind: FaultStatus, Status: 500, Seconds: 3}); err != nil {
			t.Fatal(err)
		}
		c := &call{r: &http.Request{Method: http.MethodGet, Header: http.Header{}, URL: &url.URL{Path: "/"}}}
		for range 3 {
			if sb.fault(c, "/") == nil {
				t.Error("the rule does not apply")
			}
		}
		time.Sleep(4 * time.Second)
		if sb.fault(c, "/") != nil {
			t.Error("the rule applies after its end")
		}
	})
}
