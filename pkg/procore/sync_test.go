package procore_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// bulk is a Procore that accepts sync actions, and records the size of each call and how often it accepted each update.
type bulk struct {
	mu     sync.Mutex
	calls  []int
	taken  map[string]int
	refuse func(updates []map[string]any) (status int, also bool) // 0: the call is accepted; also: the updates are made despite the status
}

func (b *bulk) session(t *testing.T) *procore.Session {
	t.Helper()
	var n atomic.Int64
	b.taken = map[string]int{}
	return session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		var body struct{ Updates []map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls = append(b.calls, len(body.Updates))
		status, also := 0, false
		if b.refuse != nil {
			status, also = b.refuse(body.Updates)
		}
		if status != 0 && !also {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"message":"no"}`)
			return
		}
		for _, u := range body.Updates {
			b.taken[fmt.Sprint(u["origin_id"])]++
		}
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"entities": body.Updates, "errors": []any{}})
	})
}

func updates(n int) []map[string]any {
	out := make([]map[string]any, n)
	for i := range out {
		out[i] = map[string]any{"id": int64(1<<53 + 1 + i), "origin_id": fmt.Sprint("V-", i)}
	}
	return out
}

// more refuses calls with more than n updates.
func more(n, status int, also bool) func([]map[string]any) (int, bool) {
	return func(updates []map[string]any) (int, bool) {
		if len(updates) > n {
			return status, also
		}
		return 0, false
	}
}

func TestTooLargeCallIsSplit(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		also   bool
	}{
		{"413", 413, false}, {"408", 408, false}, {"504", 504, false}, {"504, and taken all the same", 504, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bulk{refuse: more(130, c.status, c.also)}
			s := b.session(t)
			result, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1500)})
			if err != nil || len(result.Entities) != 1500 || len(result.Refused) > 0 || len(b.taken) != 1500 {
				t.Fatalf("%d entities, %d refused, %d taken: %v", len(result.Entities), len(result.Refused), len(b.taken), err)
			}
			for i, e := range result.Entities {
				if e["origin_id"] != fmt.Sprint("V-", i) {
					t.Fatalf("entity %d is %v", i, e)
				}
			}
			b.calls = nil
			if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(250)}); err != nil || !slices.Equal(b.calls, []int{125, 125}) {
				t.Errorf("the next action made calls of %v: %v", b.calls, err)
			}
			b.calls, b.refuse = nil, nil
			if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncProjects, Envelope: ofCompany, Updates: updates(1000)}); err != nil || !slices.Equal(b.calls, []int{1000}) {
				t.Errorf("an action of another route made calls of %v: %v", b.calls, err)
			}
		})
	}
}

// If Procore accepts only single updates, they are sent one by one. If it accepts none, not every update is sent.
func TestSplittingEndsAtOneUpdate(t *testing.T) {
	b := &bulk{refuse: more(1, 413, false)}
	if result, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(5)}); err != nil || len(result.Entities) != 5 {
		t.Errorf("%v: %v", result, err)
	}
	b = &bulk{refuse: more(0, 413, false)}
	if _, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)}); fault.ClassOf(err) != fault.Permanent || len(b.calls) != 10 {
		t.Errorf("calls %v: %v", b.calls, err)
	}
	b = &bulk{refuse: more(0, 504, false)} // Procore is down: the size is not the cause
	s := b.session(t)
	if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)}); err == nil || fault.ClassOf(err) == fault.Permanent || !slices.Equal(b.calls, []int{1000, 1}) {
		t.Errorf("calls %v: %v", b.calls, err)
	}
	b.calls, b.refuse = nil, nil
	if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)}); err != nil || !slices.Equal(b.calls, []int{1000}) {
		t.Errorf("after it was down, calls %v: %v", b.calls, err)
	}
}

// If one update makes Procore refuse the whole call, only that update is refused, and the size of calls does not change.
func TestRefusedCallIsNarrowedToOneUpdate(t *testing.T) {
	for _, status := range []int{400, 409, 422} {
		spoils := func(u map[string]any) bool { return u["origin_id"] == "V-700" }
		b := &bulk{refuse: func(updates []map[string]any) (int, bool) {
			if slices.ContainsFunc(updates, spoils) {
				return status, false
			}
			return 0, false
		}}
		s := b.session(t)
		result, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)})
		if err != nil || len(result.Entities) != 999 || len(result.Refused) != 1 || result.Refused[0].Item["origin_id"] != "V-700" || result.Refused[0].Why != "no" {
			t.Fatalf("%d: %d entities, refused %v: %v", status, len(result.Entities), result.Refused, err)
		}
		for origin, n := range b.taken {
			if n != 1 {
				t.Errorf("%d: %s was sent %d times", status, origin, n)
			}
		}
		b.calls = nil
		if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(600)}); err != nil || !slices.Equal(b.calls, []int{600}) {
			t.Errorf("%d: the next action made calls of %v: %v", status, b.calls, err)
		}
	}
}

// If every update is refused, the call itself is wrong. This is detected in a few calls.
func TestWrongCallIsDetectedInFewCalls(t *testing.T) {
	b := &bulk{refuse: more(0, 400, false)}
	_, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)})
	if fault.ClassOf(err) != fault.Permanent || !strings.Contains(err.Error(), "400") || len(b.calls) > 30 {
		t.Errorf("%d calls: %v", len(b.calls), err)
	}
	b = &bulk{refuse: more(0, 403, false)}
	if _, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(1000)}); err == nil || len(b.calls) != 1 {
		t.Errorf("a missing permission took %d calls: %v", len(b.calls), err)
	}
}

// The refused lines of one record do not prevent the updates of other records, wherever these are.
func TestRefusedLinesDoNotStopOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		bad  func(i int) bool
	}{
		{"the first 8 of 28", 28, func(i int) bool { return i < 8 }},
		{"the first 8 of 9", 9, func(i int) bool { return i < 8 }},
		{"the first 8 and the last of 28", 28, func(i int) bool { return i < 8 || i == 27 }},
		{"all but one in the middle", 28, func(i int) bool { return i != 13 }},
		{"the first 40 of 1000", 1000, func(i int) bool { return i < 40 }},
		{"the first 40 and the last 300 of 1000", 1000, func(i int) bool { return i < 40 || i >= 700 }},
		{"the first 8 of 1500, in two calls", 1500, func(i int) bool { return i < 8 }},
		{"all of 8", 8, func(i int) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := map[string]bool{}
			for i := range c.n {
				if c.bad(i) {
					bad[fmt.Sprint("V-", i)] = true
				}
			}
			b := &bulk{refuse: func(updates []map[string]any) (int, bool) {
				if slices.ContainsFunc(updates, func(u map[string]any) bool { return bad[fmt.Sprint(u["origin_id"])] }) {
					return 422, false
				}
				return 0, false
			}}
			result, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(c.n)})
			if err != nil || len(result.Entities) != c.n-len(bad) || len(b.taken) != c.n-len(bad) || len(result.Refused) != len(bad) {
				t.Fatalf("%d entities, %d taken, %d refused, %d are bad: %v", len(result.Entities), len(b.taken), len(result.Refused), len(bad), err)
			}
			for _, r := range result.Refused {
				if id := fmt.Sprint(r.Item["origin_id"]); !bad[id] {
					t.Errorf("%s was refused, or twice", id)
				} else {
					delete(bad, id)
				}
			}
			for id, n := range b.taken {
				if n != 1 {
					t.Errorf("%s was accepted %d times", id, n)
				}
			}
		})
	}
}

// If a sample fails for a reason other than a refusal, the action ends with that error.
func TestUnansweredSampleIsNoRefusal(t *testing.T) {
	calls := 0
	b := &bulk{refuse: func(updates []map[string]any) (int, bool) {
		if calls++; len(updates) == 1 && updates[0]["origin_id"] == "V-27" {
			return 403, false
		}
		return 422, false
	}}
	_, err := b.session(t).Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(28)})
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// A large call without an answer is split, although Procore may have made its updates.
func TestUnansweredCallIsSplit(t *testing.T) {
	var n atomic.Int64
	var mu sync.Mutex
	var calls []int
	s := openFor(t, 3*time.Second, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		var body struct{ Updates []map[string]any }
		_ = json.NewDecoder(r.Body).Decode(&body)
		mu.Lock()
		calls = append(calls, len(body.Updates))
		mu.Unlock()
		if len(body.Updates) > 4 {
			<-r.Context().Done()
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"entities": body.Updates})
	})
	result, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates(8)})
	if err != nil || len(result.Entities) != 8 || !slices.Equal(calls, []int{8, 1, 4, 3}) {
		t.Errorf("%d entities, calls %v: %v", len(result.Entities), calls, err)
	}
}
