package procore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// storeOf is a Store in memory.
type storeOf struct {
	mu       sync.Mutex
	values   map[string][]byte
	revision uint64
	writes   int
}

func (s *storeOf) Read(_ context.Context, key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], s.revision, nil
}

func (s *storeOf) Swap(_ context.Context, key string, value []byte, revision uint64) (uint64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision != s.revision {
		return 0, false, nil
	}
	s.values[key] = value
	s.revision++
	s.writes++
	return s.revision, true, nil
}

func (s *storeOf) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// Limits are published soon after they changed, and at most every few seconds, however many calls are made.
func TestLimitsArePublishedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &company.Client{Name: "acme"}
		store := &storeOf{values: map[string][]byte{}}
		a := &account{client: client, limiter: newLimiter(true), store: store, companies: []*Session{{sessionState: &sessionState{company: &company.Company{ID: 7, Client: client}}}}}
		a.limiter.changed = (&publisher{account: a, store: store}).changed
		call := func(left int) {
			r, err := a.limiter.reserve(t.Context(), 7)
			if err != nil {
				t.Fatal(err)
			}
			a.limiter.recordAnswer(r, 200, headers(1000, left, time.Now().Unix()+1000, time.Now()))
		}
		read := func() LimitStatus {
			t.Helper()
			synctest.Wait()
			raw, _, _ := store.Read(t.Context(), "client-acme")
			s, err := ReadLimitStatus(raw, 7, client, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		call(999)
		if s := read(); s.Hour.Limit != 1000 || s.Hour.Remaining != 999 || s.Spike.Limit != 0 {
			t.Errorf("after the first call: %+v", s)
		}
		for i := range 100 { // in 10 s
			time.Sleep(100 * time.Millisecond)
			call(998 - i)
		}
		time.Sleep(publishInterval + time.Second)
		if s := read(); s.Hour.Remaining != 899 {
			t.Errorf("after 101 calls: %+v", s)
		}
		if n := store.written(); n > 4 {
			t.Errorf("%d writes in 16 s", n)
		}
		time.Sleep(time.Hour)
		if s := read(); s.Hour.Remaining != 1000 || !s.Hour.Reset.IsZero() {
			t.Errorf("after the window is over: %+v", s)
		}
		if n := store.written(); n > 4 {
			t.Errorf("%d writes, some without a call", n)
		}
	})
}

// If Procore counts by company, a process keeps what others have published of companies that it does not call.
func TestPublishedCompaniesOfOtherProcessesAreKept(t *testing.T) {
	client := &company.Client{Name: "acme"}
	store := &storeOf{values: map[string][]byte{}}
	for _, id := range []int64{7, 8} {
		a := &account{client: client, limiter: newLimiter(true), store: store, companies: []*Session{{sessionState: &sessionState{company: &company.Company{ID: 7, Client: client}}}}}
		a.limiter.apart = true
		r, err := a.limiter.reserve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		a.limiter.recordAnswer(r, 200, headers(25, 20+int(id)%7, time.Now().Unix()+9, time.Now()))
		(&publisher{account: a, store: store}).publish()
	}
	for id, want := range map[int64]int{7: 20, 8: 21, 9: 0} {
		s, err := ReadLimitStatus(store.values["client-acme"], id, client, time.Now())
		if err != nil || id != 9 && s.Spike.Remaining != want {
			t.Errorf("company %d: %+v, %v; want %d left", id, s, err, want)
		}
	}
}

// Only a value that was written with the client's secret, for its own key, is shown.
func TestForeignLimitsAreNotRead(t *testing.T) {
	client := &company.Client{Name: "acme"} // without credentials: the secret is ""
	p := published{Client: LimitStatus{Spike: Quota{Limit: 25, Remaining: 3, Reset: epoch.Add(8 * time.Second)}}}
	good, err := seal(p, "client-acme", "", 41)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ReadLimitStatus(good, 7, client, epoch); err != nil || s.Spike.Remaining != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	other, _ := seal(p, "client-other", "", 41)
	secret, _ := seal(p, "client-acme", "other", 41)
	for name, raw := range map[string][]byte{
		"nonsense": []byte("nonsense"), "nothing": {}, "null": []byte("null"), "no MAC": []byte(`{"value":{},"after":41}`),
		"another key": other, "another secret": secret, "too large": append(good, strings.Repeat(" ", maxValue)...),
		"changed":         []byte(strings.Replace(string(good), `"Remaining":3`, `"Remaining":0`, 1)),
		"another version": []byte(strings.Replace(string(good), `"after":41`, `"after":42`, 1)),
		"the plain value": fmt.Append(nil, `{"client":{"spike":{"Limit":25}}}`),
	} {
		if s, err := ReadLimitStatus(raw, 7, client, epoch); !errors.Is(err, errForeign) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
