package bustest_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// storeDeadLetter stores a dead letter of request n with the cause erp, or tieback.
func storeDeadLetter(t testing.TB, b *bus.Bus, n int64, ours bool) {
	t.Helper()
	cause := fault.From(fault.FromERP, fault.New(fault.Transient, errors.New("the ERP is down")))
	if ours {
		cause = errors.New("a mistake")
	}
	m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, n), Stream: bus.Event.Stream(), Sequence: uint64(n), Data: []byte("x")}
	m.RawSubject = m.Subject.String()
	if err := b.DeadLetter(t.Context(), "export", m, cause); err != nil {
		t.Fatal(err)
	}
}

// unresolved returns the number of unresolved dead letters by cause, without the causes that have none.
func unresolved(t testing.TB, counter *request.Counter) map[string]int {
	t.Helper()
	if err := counter.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := counter.ByCause()
	if len(all) != len(request.Causes) {
		t.Errorf("%v, want one number per cause", all)
	}
	maps.DeleteFunc(all, func(_ string, n int) bool { return n == 0 })
	return all
}

func TestCounterContinues(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	discard := func(letter, request int64) {
		t.Helper()
		err := b.PublishOnce(t.Context(), bus.For(bus.Resolution, "create_vendor", 7, request).WithRun(fmt.Sprint(letter)),
			&tiebackv1.Resolution{DeadLetter: uint64(letter), Action: tiebackv1.Action_ACTION_DISCARDED})
		if err != nil {
			t.Fatal(err)
		}
	}
	counter := request.NewCounter(b)
	expect := func(what string, want map[string]int) {
		t.Helper()
		if got := unresolved(t, counter); !maps.Equal(got, want) {
			t.Errorf("%s: %v are unresolved, want %v", what, got, want)
		}
		if got := unresolved(t, request.NewCounter(b)); !maps.Equal(got, want) {
			t.Errorf("%s, read from the start: %v are unresolved, want %v", what, got, want)
		}
	}
	expect("no dead letter", map[string]int{})
	for n := range int64(4) {
		storeDeadLetter(t, b, n+1, n == 3)
	}
	if _, err := b.JetStream().Publish(t.Context(), "tb.dead.anything", []byte("not written by a service of Tieback")); err != nil {
		t.Fatal(err)
	}
	expect("four dead letters, and a message that no service wrote", map[string]int{"erp": 3, "tieback": 2})
	discard(1, 1)
	discard(4, 4)
	expect("two discarded", map[string]int{"erp": 2, "tieback": 1})
	storeDeadLetter(t, b, 6, false)
	discard(6, 6)
	expect("one stored and resolved in between", map[string]int{"erp": 2, "tieback": 1})
	replay := bus.For(bus.Event, "create_vendor", 7, 2).WithRun("2")
	must(t, b.PublishOnce(t.Context(), bus.For(bus.Resolution, "create_vendor", 7, 2).WithRun("2"), &tiebackv1.Resolution{
		CompanyId: 7, ErpRequestId: 2, DeadLetter: 2, Action: tiebackv1.Action_ACTION_REPLAYED, At: timestamppb.Now(), Subject: replay.String(),
	}))
	expect("an interrupted replay", map[string]int{"erp": 2, "tieback": 1})
	must(t, b.PublishOnce(t.Context(), replay, &tiebackv1.Event{CompanyId: 7, ErpRequestId: 2}))
	expect("the replay resumed", map[string]int{"erp": 1, "tieback": 1})
	must(t, b.PublishOnce(t.Context(), bus.For(bus.Resolution, "create_vendor", 7, 2).WithRun("2-2"), &tiebackv1.Resolution{
		CompanyId: 7, ErpRequestId: 2, DeadLetter: 2, Action: tiebackv1.Action_ACTION_REPLAYED, At: timestamppb.Now(), Subject: replay.WithRun("2-2").String(),
	}))
	expect("a second interrupted replay of the same dead letter", map[string]int{"erp": 2, "tieback": 1})
	dead, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("the stream purged by hand", map[string]int{})
}

// If the streams were lost and created again, their sequences start at 1, and the counter starts over.
func TestCounterStartsOverWithNewStreams(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	counter := request.NewCounter(b)
	storeDeadLetter(t, b, 1, false)
	storeDeadLetter(t, b, 2, false)
	if got := unresolved(t, counter); got["erp"] != 2 {
		t.Fatalf("%v are unresolved, want 2", got)
	}
	dead, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	cfg := dead.CachedInfo().Config
	if err := b.JetStream().DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for n := range int64(3) {
		storeDeadLetter(t, b, n+1, true)
	}
	if got := unresolved(t, counter); !maps.Equal(got, map[string]int{"tieback": 3}) {
		t.Errorf("%v are unresolved, want 3 with the cause ours", got)
	}
}

// BenchmarkCounter measures the first and the later reads of 100,000 dead letters.
func BenchmarkCounter(b *testing.B) {
	on := bustest.Connect(b)
	hundredThousand(b, on)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if got := unresolved(b, request.NewCounter(on)); got["erp"] != 100_000 {
				b.Fatalf("%v are unresolved", got)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		counter := request.NewCounter(on)
		unresolved(b, counter)
		for b.Loop() {
			unresolved(b, counter)
		}
	})
}

func hundredThousand(b *testing.B, on *bus.Bus) {
	b.Helper()
	todo := make(chan int64)
	done := make(chan struct{})
	for range 512 {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range todo {
				storeDeadLetter(b, on, n, false)
			}
		}()
	}
	for n := range int64(100_000) {
		todo <- n + 1
	}
	close(todo)
	for range 512 {
		<-done
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
