package index

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/request"
)

// deliveries are messages of n requests of company 7, from the first, one each second from at on.
func deliveries(first int64, n int, at time.Time) (all []message) {
	for i := range n {
		id := first + int64(i)
		all = append(all, message{kind: bus.Delivery, company: 7, request: id, typ: "_", at: at.Add(time.Duration(i) * time.Second), sequence: uint64(id)}) //nolint:gosec // small
	}
	return all
}

func apply(t *testing.T, x *Index, messages ...message) {
	t.Helper()
	if err := x.apply(t.Context(), batch{messages: messages}); err != nil {
		t.Fatal(err)
	}
}

// A request that becomes overdue, and has a further message before recheck has looked at it, is found as one that needs attention.
func TestMessageOfAnOverdueRequest(t *testing.T) {
	rules := request.Rules{Deadlines: request.Deadlines{Interactive: 2 * time.Hour}}
	x := open(t, filepath.Join(t.TempDir(), "index.db"), Options{Rules: func(int64) request.Rules { return rules }})
	all := deliveries(1, 2, time.Now().Add(-time.Hour))
	all[1].request = 1
	apply(t, x, all[0])
	rules.Deadlines.Interactive = 10 * time.Minute // as if the time had passed
	apply(t, x, all[1])
	for state, want := range map[State]int{StateAttention: 1, StateOpen: 0} {
		if page, err := x.Search(t.Context(), Query{States: []State{state}}); err != nil || len(page.Rows) != want {
			t.Errorf("%d requests have the state %s, want %d: %v", len(page.Rows), state, want, err)
		}
	}
}

// Run deletes what is older than Options.Keep in steps, and searches do not wait for a step.
func TestRunPurgesInSteps(t *testing.T) {
	const old, kept = 3*atOnce - 1, 10
	o := options()
	o.Keep = 100 * 24 * time.Hour
	x := open(t, filepath.Join(t.TempDir(), "index.db"), o)
	x.every = time.Millisecond
	apply(t, x, deliveries(1, old, time.Now().Add(-200*24*time.Hour))...)
	apply(t, x, deliveries(old+1, kept, time.Now().Add(-99*24*time.Hour))...)
	count := func() int {
		counts, err := x.Counts(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for _, of := range counts.States[7] {
			n += of
		}
		return int(n)
	}
	before := time.Now().Add(-o.Keep)
	last, more, err := x.purgeSome(t.Context(), before, 0)
	if err != nil || !more || count() != old+kept-atOnce {
		t.Fatalf("after one step there are %d requests, want %d; more: %v: %v", count(), old+kept-atOnce, more, err)
	}
	if _, _, err := x.purgeSome(t.Context(), before, last); err != nil {
		t.Fatal(err)
	}
	if err := x.transaction(t.Context(), func(tx *sql.Tx) error { // a search while a step is written
		if _, err := tx.Exec("DELETE FROM requests"); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if page, err := x.Search(ctx, Query{Text: "1"}); err != nil || len(page.Rows) != 0 {
			t.Errorf("a search finds %d requests: %v", len(page.Rows), err)
		}
		if page, err := x.Search(ctx, Query{Limit: 5}); err != nil || len(page.Rows) != 5 {
			t.Errorf("a page has %d requests: %v", len(page.Rows), err)
		}
		return context.Canceled // it is rolled back
	}); err == nil {
		t.Fatal("the transaction was committed")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	b := bustest.Connect(t)
	go func() { ended <- x.Run(ctx, b) }()
	for began := time.Now(); count() > kept; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%d requests are left, want %d", count(), kept)
		}
	}
	stop()
	<-ended
	if page, err := x.Search(t.Context(), Query{Limit: 100}); err != nil || len(page.Rows) != kept {
		t.Errorf("%d requests are left, want %d: %v", len(page.Rows), kept, err)
	}
}
