package procore

import "testing"

const noon = int64(1_795_600_000_000)

// running is a window that an answer showed.
func running(limit, left int, ends int64) window { return window{Limit: limit, Left: left, Ends: ends} }

// Calls whose answers show the other window count in this one too.
func TestTheWindowThatIsNotShownCountsByItself(t *testing.T) {
	w := running(100, 3, noon+hour/2)
	for range 3 {
		w.countHidden(noon, hour, noon-50)
	}
	if wait := w.wait(noon, 0, 0); wait < hour/2 {
		t.Errorf("all 3 calls that were left are made, and the next waits %d ms", wait)
	}
}

// A call of before the end of a window does not tell when the next one began.
func TestAWindowBeginsAtTheLatestWithTheFirstCallAfterTheLast(t *testing.T) {
	w := running(100, 3, noon)
	w.roll(noon+2000, hour)
	w.countHidden(noon+3000, hour, noon-100) // made before noon
	w.countHidden(noon+60_000, hour, noon+59_900)
	if w.Left != 98 || w.Ends < noon+59_900+hour {
		t.Errorf("%+v ends %d ms after noon; its first call for sure was made 59.9 s after", w, w.Ends-noon)
	}
	w.countHidden(noon+120_000, hour, noon+119_900)
	if w.Ends > noon+62_000+hour {
		t.Errorf("a later call moved the end to %d ms after noon", w.Ends-noon)
	}
}

// Calls that ended meanwhile may have been counted after the answer that shows a new window.
func TestANewWindowStartsWithoutWhatItMayNotHaveCountedYet(t *testing.T) {
	w := running(25, 0, noon)
	w.update(rateHeaders{limit: 25, left: 20, reset: noon + 11_000}, noon+1500, 7, 4)
	if w.Left != 16 || w.Ends != noon+11_000 {
		t.Errorf("%+v", w)
	}
}

// An answer of the last window that comes late changes nothing in this one.
func TestALateAnswerOfTheLastWindowIsNotTakenForThisOne(t *testing.T) {
	w := running(25, 9, noon+10_000)
	w.update(rateHeaders{limit: 25, left: 0, reset: noon}, noon+500, 3, 0)
	if w.Left != 9 || w.Ends != noon+10_000 {
		t.Errorf("%+v", w)
	}
}

// After Procore's clock jumped back, a window of then is no reason to wait.
func TestAWindowThatEndsTooFarAwayIsForgotten(t *testing.T) {
	w := running(3600, 0, noon)
	w.roll(noon-2*hour, hour)
	if w.Limit != 0 || w.wait(noon-2*hour, 0, 0) != 0 {
		t.Errorf("%+v", w)
	}
}

// Where it is not known whether lost calls were counted, one call finds out; a second waits.
func TestInDoubtOneCallAtATimeGoes(t *testing.T) {
	w := running(25, 2, noon+10_000)
	w.countUncertain(2)
	if w.wait(noon, 0, 0) != 0 || w.wait(noon, 1, 0) == 0 {
		t.Errorf("%+v: alone %d, beside another %d", w, w.wait(noon, 0, 0), w.wait(noon, 1, 0))
	}
	w.update(rateHeaders{limit: 25, left: 0, reset: noon + 10_000}, noon, 0, 0)
	if w.wait(noon, 0, 0) < 10_000 {
		t.Errorf("%+v: it is spent", w)
	}
}
