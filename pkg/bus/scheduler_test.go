package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// floor is a consumer's fair share without a broker, at a time that the test moves on.
type floor struct {
	*testing.T
	scheduler
	now     time.Time
	seq     uint64
	working map[int64][]*prefetched // by company, the oldest first
}

func newFloor(t *testing.T, slots, room int) *floor {
	return &floor{T: t, scheduler: scheduler{concurrency: slots, maxQueued: room, maxBytes: 1 << 20, tenants: map[int64]*tenantQueue{}},
		now: time.Unix(1_800_000_000, 0), working: map[int64][]*prefetched{}}
}

// arrive brings n messages of a company and says how many were kept, and when the others come again.
func (f *floor) arrive(company int64, n int) (kept int, later []time.Duration) {
	for range n {
		f.seq++
		meta := &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: f.seq}}
		d, ok := f.add(&prefetched{MsgMetadata: meta, size: 10, subject: Subject{Company: company}}, company, f.now)
		if !ok {
			later = append(later, d)
			continue
		}
		kept++
	}
	return kept, later
}

// begin starts whoever may, in their order.
func (f *floor) begin() (order []int64) {
	for h := f.next(f.now); h != nil; h = f.next(f.now) {
		c := h.subject.Company
		f.working[c] = append(f.working[c], h)
		order = append(order, c)
	}
	return order
}

// finish ends n of a company's messages.
func (f *floor) finish(company int64, n int) {
	f.endAll(company, n, result{})
}

func (f *floor) throttled(company int64, n int, wait time.Duration) {
	f.endAll(company, n, result{throttled: true, wait: wait})
}

func (f *floor) fail(company int64, n int) { f.endAll(company, n, result{failed: true}) }

func (f *floor) endAll(company int64, n int, e result) {
	for range n {
		f.scheduler.finish(f.working[company][0], e, f.now)
		f.working[company] = f.working[company][1:]
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
	f := newFloor(t, 64, 1000)
	f.arrive(1, 100)
	f.arrive(2, 3)
	f.arrive(3, 3)
	order := f.begin()[:9]
	if count(order, 1) != 3 || count(order, 2) != 3 || count(order, 3) != 3 {
		t.Errorf("started %v; want three of each, whoever came first", order)
	}
}

func TestNoCompanyCanTakeAllSlots(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 1000)
	if n := count(f.begin(), 1); n != 128 {
		t.Errorf("a company alone runs %d at once, want half of 256", n)
	}
	f.arrive(2, 1000) // both hang
	f.begin()
	f.finish(1, 40) // and a little comes free, again and again
	f.begin()
	for c := int64(3); c < 10; c++ {
		f.arrive(c, 1)
		if count(f.begin(), c) != 1 {
			t.Errorf("company %d finds no free slot beside two that hang: %d of %d run", c, f.running, f.concurrency)
		}
	}
}

func TestEvenOneSlotIsUsed(t *testing.T) {
	f := newFloor(t, 1, 100)
	f.arrive(1, 3)
	for range 3 {
		if got := len(f.begin()); got != 1 {
			t.Fatalf("started %d, want 1", got)
		}
		f.finish(1, 1)
	}
}

// A backlog a hundred times the room is handed back but for the company's share, and whoever
// stands behind it is reached and begun.
func TestBehindABacklogOthersAreReached(t *testing.T) {
	f := newFloor(t, 256, 4096)
	kept, later := f.arrive(1, 100_000)
	if kept != 2048 || len(later) != 100_000-2048 {
		t.Fatalf("kept %d and handed back %d of one company's 100,000; want half of the room of 4,096 kept", kept, len(later))
	}
	f.begin()
	if kept, _ := f.arrive(2, 1); kept != 1 || count(f.begin(), 2) != 1 {
		t.Error("the one message behind the backlog was not begun")
	}
	for _, d := range later {
		if d < minReturn || d > maxReturn+time.Second {
			t.Fatalf("handed back for %v", d)
		}
	}
	if later[0] > later[1000] || later[1000] > later[20_000] {
		t.Errorf("come again after %v, %v, %v; want it in their order", later[0], later[1000], later[20_000])
	}
}

// What is handed back comes again about when the company can work it: neither in a crowd that
// is handed back once more, nor long after the company has run dry.
func TestTheSurplusComesAgainAsFastAsItsCompanyWorks(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 2048)
	f.begin()
	for range 30 { // three seconds at 500 a second
		f.now = f.now.Add(100 * time.Millisecond)
		f.finish(1, 50)
		f.begin()
		f.arrive(1, 50)
	}
	_, later := f.arrive(1, 5000)
	if len(later) < 4000 {
		t.Fatalf("%d of 5,000 handed back; a lane of 500 a second may hold 1,000", len(later))
	}
	first, end := later[0], later[3999]
	if took := end - first; took < 6*time.Second || took > 10*time.Second {
		t.Errorf("4,000 messages come again within %v; at 500 a second they take 8 s", took)
	}
}

// With an ERP that hangs nothing ends: little is held, and the rest comes again in a trickle.
func TestACompanyThatStandsStillHoldsLittle(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 200)
	f.begin()
	f.now = f.now.Add(10 * time.Second)
	kept, later := f.arrive(1, 2000)
	if held := len(f.tenants[1].messages); held != minShare || kept == 0 {
		t.Errorf("holds %d, want %d", held, minShare)
	}
	first, end := later[0], later[len(later)-1]
	if took := end - first; took < 15*time.Second || took > 25*time.Second {
		t.Errorf("%d come again within %v; want a hundred a second", len(later), took)
	}
	_, later = f.arrive(1, 100_000)
	if end := later[50_000]; end < maxReturn/2 {
		t.Errorf("of 100,000 the half are here again after %v", end)
	}
}

// Nobody knows when an ERP that hangs will answer again. Then the few that were handed back are not
// away for minutes, with nothing else to do.
func TestWhatWasHandedBackIsSoonHereWhenAnERPAnswersAgain(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 384)
	f.begin()
	f.now = f.now.Add(10 * time.Second)
	for range 5 { // they come again and again
		_, later := f.arrive(1, 119)
		if len(later) != 119 {
			t.Fatalf("%d handed back, want all", len(later))
		}
		for _, d := range later {
			if d < minReturn || d > 6*time.Second {
				t.Fatalf("comes again after %v", d)
			}
		}
		f.now = f.now.Add(later[0])
	}
}

// However many ERPs hang, what is handed back of all of them comes again no faster than of one.
func TestManyThatStandStillAreNoCrowd(t *testing.T) {
	f := newFloor(t, 256, 100*minShare)
	f.maxBytes = 1 << 30
	for c := range int64(100) {
		f.arrive(c, minShare+1)
	}
	f.begin()
	f.now = f.now.Add(10 * time.Second)
	soon := 0
	for c := range int64(100) {
		_, later := f.arrive(c, 1000)
		for _, d := range later {
			if d < 30*time.Second {
				soon++
			}
		}
	}
	if soon > 30*2*minReturnRate {
		t.Errorf("%d of 100,000 come again within 30 s", soon)
	}
}

func TestAThrottledCompanyWaitsWithoutASlotAndOthersGoOn(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 500)
	f.begin()
	f.throttled(1, 128, time.Hour)
	if order := f.begin(); len(order) > 0 {
		t.Errorf("%d more were tried, each in vain", len(order))
	}
	if f.running != 0 {
		t.Errorf("%d slots are held", f.running)
	}
	f.arrive(2, 5)
	if count(f.begin(), 2) != 5 {
		t.Error("another company waits, too")
	}
	if at := f.nextWake(f.now); !at.Equal(f.now.Add(time.Hour)) {
		t.Errorf("wakes at %v, want an hour from %v", at, f.now)
	}
	_, later := f.arrive(1, 5000)
	for _, d := range later {
		if d < time.Hour {
			t.Fatalf("a message comes again after %v; before the hour it can only be handed back", d)
		}
	}
}

// After a throttle half as many are tried at once, and more again as they succeed.
func TestAfterAThrottleFewerAreTriedAtOnce(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 2000)
	for _, want := range []int{128, 64, 32, 16, 8, 4, 2, 1, 1} {
		if n := len(f.begin()); n != want {
			t.Fatalf("%d are tried at once, want %d", n, want)
		}
		f.throttled(1, want, time.Second)
		f.now = f.now.Add(time.Second)
	}
	for _, want := range []int{1, 2, 4, 8, 16, 32, 64, 128, 128} {
		if n := len(f.begin()); n != want {
			t.Fatalf("%d are tried at once after successes, want %d", n, want)
		}
		f.finish(1, want)
	}
}

// Large messages take room by their size, so that a few companies do not fill the memory.
func TestRoomIsLimitedInBytesToo(t *testing.T) {
	f := newFloor(t, 4, 4096)
	f.maxBytes = 100
	if kept, _ := f.arrive(1, 50); kept != 5 { // of 10 bytes
		t.Errorf("kept %d, want half of 100 bytes", kept)
	}
	if kept, _ := f.arrive(2, 50); kept < 1 {
		t.Error("a company that holds nothing was refused")
	}
}

func TestWhatIsHeldIsCountedRight(t *testing.T) {
	f := newFloor(t, 16, 100)
	for i := range 50 {
		c := int64(i % 3)
		f.arrive(c, 7)
		f.begin()
		f.now = f.now.Add(time.Second)
		if n := len(f.working[c]); n > 0 && i%5 == 0 {
			f.throttled(c, n, time.Second)
		}
		f.finish(c, len(f.working[c]))
	}
	held, size, running := 0, 0, 0
	for _, l := range f.tenants {
		held, size, running = held+len(l.messages), size+l.bytes, running+l.running
	}
	if held != f.queued || size != f.bytes || running != f.running || size != 10*held {
		t.Errorf("counted %d held of %d bytes and %d running; there are %d, %d, %d", f.queued, f.bytes, f.running, held, size, running)
	}
}

// Whatever is down, the ERP or Procore's login, is not asked by every message in turn.
func TestWhereAllFailOnlyAFewTry(t *testing.T) {
	f := newFloor(t, 256, 4096)
	tries := 0
	for range 600 { // a minute, a tenth of a second each
		f.now = f.now.Add(100 * time.Millisecond)
		f.arrive(1, 20)
		n := len(f.begin())
		tries += n
		f.fail(1, n)
	}
	if tries > 300 {
		t.Errorf("%d tries in a minute; every message tried is 12,000, and one in five seconds after the first is about 150", tries)
	}
	f.now = f.now.Add(maxPause)
	f.begin()
	f.finish(1, 1) // it is back
	for range 20 {
		f.now = f.now.Add(100 * time.Millisecond)
		f.begin()
		f.finish(1, len(f.working[1]))
		f.arrive(1, 200)
	}
	if n := len(f.begin()); n < 64 {
		t.Errorf("two seconds after it was back %d are worked at once", n)
	}
}

func TestOneMessageThatAlwaysFailsStopsNobody(t *testing.T) {
	f := newFloor(t, 256, 4096)
	f.arrive(1, 1)
	for range 50 {
		if len(f.begin()) != 1 {
			t.Fatal("it was not begun")
		}
		bad := f.working[1][0]
		f.fail(1, 1)
		if _, kept := f.add(&prefetched{MsgMetadata: bad.MsgMetadata, subject: bad.subject}, 1, f.now); !kept {
			t.Fatal("it was not kept")
		}
	}
}

// Companies at their quota fill the room; while a slot is free the messages behind them are asked for.
func TestCompaniesThatWaitKeepNobodyFromBeingAskedFor(t *testing.T) {
	f := newFloor(t, 256, 4096)
	for c := int64(1); c <= 18; c++ {
		f.arrive(c, 1)
		f.begin()
		f.throttled(c, 1, time.Hour)
		f.arrive(c, 300)
	}
	if f.running > 0 || f.queued < 4000 {
		t.Fatalf("%d run and %d are held; want none and about all of 4,096", f.running, f.queued)
	}
	if n := f.wanted(); n < 64 {
		t.Errorf("%d more are asked for while no slot is taken", n)
	}
	if kept, _ := f.arrive(99, 1); kept != 1 || count(f.begin(), 99) != 1 {
		t.Error("the company behind them was not begun")
	}
}

func TestNothingIsAskedForWhileNoSlotIsFree(t *testing.T) {
	f := newFloor(t, 1, 100)
	f.arrive(1, 2)
	f.begin()
	if n := f.wanted(); n != 0 {
		t.Errorf("%d are asked for", n)
	}
}

// A company that an operator paused starts nothing, its queue stays, and others are not affected.
func TestAPausedCompanyStartsNothing(t *testing.T) {
	f := newFloor(t, 8, 100)
	paused := map[int64]bool{1: true}
	f.arrive(1, 3)
	f.arrive(2, 3)
	is := func(company int64) bool { return paused[company] }
	f.pause(is, f.now)
	for _, c := range f.begin() {
		if c == 1 {
			t.Fatal("a message of the paused company was started")
		}
	}
	if at := f.nextWake(f.now); !at.Equal(f.now.Add(pauseCheck)) {
		t.Errorf("looked at again at %v, want after %v", at, pauseCheck)
	}
	delete(paused, 1)
	f.now = f.now.Add(pauseCheck)
	f.pause(is, f.now)
	if n := len(f.begin()); n == 0 {
		t.Error("nothing was started after the pause")
	}
}
