package scheduler

import (
	"testing"
	"time"
)

// fixture is a scheduler with a clock that the test sets, and the messages that it has started.
type fixture struct {
	*testing.T
	*Scheduler[uint64] // of sequences
	now                time.Time
	seq                uint64
	company            map[uint64]int64   // by sequence
	started            map[int64][]uint64 // by company, the oldest first
}

func newFixture(t *testing.T, running, queued int) *fixture {
	return &fixture{T: t, Scheduler: New[uint64](Limits{Running: running, Queued: queued, Bytes: 1 << 20}),
		now: time.Unix(1_800_000_000, 0), company: map[uint64]int64{}, started: map[int64][]uint64{}}
}

// add adds n messages of 10 bytes. It returns how many were queued, and the delays of the others.
func (f *fixture) add(company int64, n int) (queued int, delays []time.Duration) {
	for range n {
		f.seq++
		f.company[f.seq] = company
		d, ok := f.Add(company, f.seq, 10, f.now)
		if !ok {
			delays = append(delays, d)
			continue
		}
		queued++
	}
	return queued, delays
}

// start starts all messages that may start, and returns their companies in order.
func (f *fixture) start() (order []int64) {
	for seq, ok := f.Next(f.now); ok; seq, ok = f.Next(f.now) {
		c := f.company[seq]
		f.started[c] = append(f.started[c], seq)
		order = append(order, c)
	}
	return order
}

// succeed finishes the oldest n started messages of a company as done.
func (f *fixture) succeed(company int64, n int) { f.finish(company, n, Result{}) }

func (f *fixture) throttle(company int64, n int, wait time.Duration) {
	f.finish(company, n, Result{Throttled: true, Wait: wait})
}

func (f *fixture) fail(company int64, n int) { f.finish(company, n, Result{Failed: true}) }

func (f *fixture) finish(company int64, n int, r Result) {
	for range n {
		f.Finish(company, f.started[company][0], r, f.now)
		f.started[company] = f.started[company][1:]
	}
}

func count(order []int64, company int64) (n int) {
	for _, c := range order {
		if c == company {
			n++
		}
	}
	return n
}

func TestCompaniesTakeTurns(t *testing.T) {
	f := newFixture(t, 64, 1000)
	f.add(1, 100)
	f.add(2, 3)
	f.add(3, 3)
	order := f.start()[:9]
	if count(order, 1) != 3 || count(order, 2) != 3 || count(order, 3) != 3 {
		t.Errorf("started %v; want three of each", order)
	}
}

func TestOneCompanyUsesHalfOfTheWorkers(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 1000)
	if n := count(f.start(), 1); n != 128 {
		t.Errorf("a company alone runs %d at once, want half of 256", n)
	}
	f.add(2, 1000) // both hang
	f.start()
	f.succeed(1, 40)
	f.start()
	for c := int64(3); c < 10; c++ {
		f.add(c, 1)
		if count(f.start(), c) != 1 {
			t.Errorf("company %d starts no message beside two companies that hang: %d of %d workers are busy", c, f.running, f.limits.Running)
		}
	}
}

func TestSingleWorkerIsUsed(t *testing.T) {
	f := newFixture(t, 1, 100)
	f.add(1, 3)
	for range 3 {
		if got := len(f.start()); got != 1 {
			t.Fatalf("started %d, want 1", got)
		}
		f.succeed(1, 1)
	}
}

// Of a backlog that is larger than the queue, the company's share is queued and the rest released. A later message of
// another company starts.
func TestBacklogDoesNotDelayOthers(t *testing.T) {
	f := newFixture(t, 256, 4096)
	queued, delays := f.add(1, 100_000)
	if queued != 2048 || len(delays) != 100_000-2048 {
		t.Fatalf("queued %d and released %d of 100,000 messages; want half of the limit of 4,096 queued", queued, len(delays))
	}
	f.start()
	if queued, _ := f.add(2, 1); queued != 1 || count(f.start(), 2) != 1 {
		t.Error("the message behind the backlog did not start")
	}
	for _, d := range delays {
		if d < minRedeliveryDelay || d > maxRedeliveryDelay+time.Second {
			t.Fatalf("released for %v", d)
		}
	}
	if delays[0] > delays[1000] || delays[1000] > delays[20_000] {
		t.Errorf("redelivered after %v, %v, %v; want ascending delays", delays[0], delays[1000], delays[20_000])
	}
}

// Released messages are redelivered about when their company can start them: not so early that they are released once more,
// and not long after its queue is empty.
func TestSurplusIsRedeliveredAtTheThroughput(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 2048)
	f.start()
	for range 30 { // three seconds at 500 per second
		f.now = f.now.Add(100 * time.Millisecond)
		f.succeed(1, 50)
		f.start()
		f.add(1, 50)
	}
	_, delays := f.add(1, 5000)
	if len(delays) < 4000 {
		t.Fatalf("%d of 5,000 released; a company that completes 500 per second may queue 1,000", len(delays))
	}
	first, end := delays[0], delays[3999]
	if took := end - first; took < 6*time.Second || took > 10*time.Second {
		t.Errorf("4,000 messages are redelivered within %v; at 500 per second they take 8 s", took)
	}
}

// While no message of a company ends, it queues minShare messages, and the others are redelivered slowly.
func TestHangingCompanyQueuesLittle(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 200)
	f.start()
	f.now = f.now.Add(10 * time.Second)
	queued, delays := f.add(1, 2000)
	if n := len(f.tenants[1].messages); n != minShare || queued == 0 {
		t.Errorf("%d are queued, want %d", n, minShare)
	}
	first, end := delays[0], delays[len(delays)-1]
	if took := end - first; took < 15*time.Second || took > 25*time.Second {
		t.Errorf("%d are redelivered within %v; want 100 per second", len(delays), took)
	}
	_, delays = f.add(1, 100_000)
	if end := delays[50_000]; end < maxRedeliveryDelay/2 {
		t.Errorf("half of 100,000 messages are redelivered within %v", end)
	}
}

// The messages that a hanging company had released are redelivered within seconds, because its ERP may answer again.
func TestReleasedMessagesAreRedeliveredWithinSeconds(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 384)
	f.start()
	f.now = f.now.Add(10 * time.Second)
	for range 5 {
		_, delays := f.add(1, 119)
		if len(delays) != 119 {
			t.Fatalf("%d released, want all", len(delays))
		}
		for _, d := range delays {
			if d < minRedeliveryDelay || d > 6*time.Second {
				t.Fatalf("redelivered after %v", d)
			}
		}
		f.now = f.now.Add(delays[0])
	}
}

// The messages of many hanging companies are redelivered no faster in total than the messages of one hanging company.
func TestHangingCompaniesShareTheRedeliveryRate(t *testing.T) {
	f := newFixture(t, 256, 100*minShare)
	f.limits.Bytes = 1 << 30
	for c := range int64(100) {
		f.add(c, minShare+1)
	}
	f.start()
	f.now = f.now.Add(10 * time.Second)
	soon := 0
	for c := range int64(100) {
		_, delays := f.add(c, 1000)
		for _, d := range delays {
			if d < 30*time.Second {
				soon++
			}
		}
	}
	if soon > 30*2*minRedeliveryRate {
		t.Errorf("%d of 100,000 are redelivered within 30 s", soon)
	}
}

func TestThrottledCompanyOccupiesNoWorker(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 500)
	f.start()
	f.throttle(1, 128, time.Hour)
	if order := f.start(); len(order) > 0 {
		t.Errorf("%d more started during the pause", len(order))
	}
	if f.running != 0 {
		t.Errorf("%d workers are occupied", f.running)
	}
	f.add(2, 5)
	if count(f.start(), 2) != 5 {
		t.Error("another company waits as well")
	}
	if at := f.NextWake(f.now); !at.Equal(f.now.Add(time.Hour)) {
		t.Errorf("NextWake returns %v, want an hour from %v", at, f.now)
	}
	_, delays := f.add(1, 5000)
	for _, d := range delays {
		if d < time.Hour {
			t.Fatalf("a message is redelivered after %v, during the pause of an hour", d)
		}
	}
}

// A throttle halves the number of messages that run at once; each success raises it.
func TestThrottleHalvesTheConcurrency(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 2000)
	for _, want := range []int{128, 64, 32, 16, 8, 4, 2, 1, 1} {
		if n := len(f.start()); n != want {
			t.Fatalf("%d start at once, want %d", n, want)
		}
		f.throttle(1, want, time.Second)
		f.now = f.now.Add(time.Second)
	}
	for _, want := range []int{1, 2, 4, 8, 16, 32, 64, 128, 128} {
		if n := len(f.start()); n != want {
			t.Fatalf("%d start at once after successes, want %d", n, want)
		}
		f.succeed(1, want)
	}
}

func TestQueueIsLimitedInBytes(t *testing.T) {
	f := newFixture(t, 4, 4096)
	f.limits.Bytes = 100
	if queued, _ := f.add(1, 50); queued != 5 { // each has 10 bytes
		t.Errorf("queued %d, want half of 100 bytes", queued)
	}
	if queued, _ := f.add(2, 50); queued < 1 {
		t.Error("the first message of a company was not queued")
	}
}

func TestCountersMatchTheQueues(t *testing.T) {
	f := newFixture(t, 16, 100)
	for i := range 50 {
		c := int64(i % 3)
		f.add(c, 7)
		f.start()
		f.now = f.now.Add(time.Second)
		if n := len(f.started[c]); n > 0 && i%5 == 0 {
			f.throttle(c, n, time.Second)
		}
		f.succeed(c, len(f.started[c]))
	}
	queued, size, running := 0, 0, 0
	for _, l := range f.tenants {
		queued, size, running = queued+len(l.messages), size+l.bytes, running+l.running
	}
	if queued != f.queued || size != f.bytes || running != f.running || size != 10*queued {
		t.Errorf("counted %d queued of %d bytes and %d running; there are %d, %d, %d", f.queued, f.bytes, f.running, queued, size, running)
	}
}

// A system that is down is not called for every message.
func TestFailuresPauseTheCompany(t *testing.T) {
	f := newFixture(t, 256, 4096)
	attempts := 0
	for range 600 { // a minute, a tenth of a second each
		f.now = f.now.Add(100 * time.Millisecond)
		f.add(1, 20)
		n := len(f.start())
		attempts += n
		f.fail(1, n)
	}
	if attempts > 300 {
		t.Errorf("%d attempts in a minute; want about 150, of 12,000 messages", attempts)
	}
	f.now = f.now.Add(maxPause)
	f.start()
	f.succeed(1, 1) // it is back
	for range 20 {
		f.now = f.now.Add(100 * time.Millisecond)
		f.start()
		f.succeed(1, len(f.started[1]))
		f.add(1, 200)
	}
	if n := len(f.start()); n < 64 {
		t.Errorf("two seconds after the first success %d start at once", n)
	}
}

func TestOneFailingMessageDoesNotPauseItsCompany(t *testing.T) {
	f := newFixture(t, 256, 4096)
	f.add(1, 1)
	for range 50 {
		if len(f.start()) != 1 {
			t.Fatal("it did not start")
		}
		bad := f.started[1][0]
		f.fail(1, 1)
		if _, queued := f.Add(1, bad, 10, f.now); !queued {
			t.Fatal("it was not queued")
		}
	}
}

// The queues are full of throttled companies' messages. While a worker is free, the messages behind them are pulled.
func TestPausedCompaniesDoNotStopPulls(t *testing.T) {
	f := newFixture(t, 256, 4096)
	for c := int64(1); c <= 18; c++ {
		f.add(c, 1)
		f.start()
		f.throttle(c, 1, time.Hour)
		f.add(c, 300)
	}
	if f.running > 0 || f.queued < 4000 {
		t.Fatalf("%d run and %d are queued; want none and about all of 4,096", f.running, f.queued)
	}
	if n := f.Wanted(); n < 64 {
		t.Errorf("%d more are wanted while all workers are free", n)
	}
	if queued, _ := f.add(99, 1); queued != 1 || count(f.start(), 99) != 1 {
		t.Error("the company behind them starts no message")
	}
}

func TestNoPullWhileAllWorkersAreBusy(t *testing.T) {
	f := newFixture(t, 1, 100)
	f.add(1, 2)
	f.start()
	if n := f.Wanted(); n != 0 {
		t.Errorf("%d are wanted", n)
	}
}

// A company that an operator paused starts nothing, its queue stays, and others are not affected.
func TestPausedCompanyStartsNothing(t *testing.T) {
	f := newFixture(t, 8, 100)
	paused := map[int64]bool{1: true}
	f.add(1, 3)
	f.add(2, 3)
	isPaused := func(company int64) bool { return paused[company] }
	f.Pause(isPaused, f.now)
	if order := f.start(); count(order, 1) > 0 || count(order, 2) == 0 {
		t.Fatalf("started %v, want only messages of company 2", order)
	}
	if at := f.NextWake(f.now); !at.Equal(f.now.Add(pauseCheck)) {
		t.Errorf("NextWake returns %v, want %v from now", at, pauseCheck)
	}
	delete(paused, 1)
	f.now = f.now.Add(pauseCheck)
	f.Pause(isPaused, f.now)
	if n := len(f.start()); n == 0 {
		t.Error("nothing starts after the pause")
	}
}
