package procore

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// sealedRaw seals what may be no budget at all.
func sealedRaw(t *testing.T, raw string, after uint64) []byte {
	t.Helper()
	mac, err := macOf([]byte(raw), "7", secret, after)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(sealed{json.RawMessage(raw), after, mac})
	if err != nil {
		return []byte(raw) // no JSON
	}
	return value
}

// thief has the broker's key of one service: it writes what it likes, and it has no client's secret.
type thief struct {
	*fakeStore
	writes func(legitimate []byte) []byte // what it writes over a value; nil: nothing
	always bool                           // it writes faster than all others: no swap succeeds
}

func (f *thief) Swap(ctx context.Context, key string, value []byte, revision uint64) (uint64, bool, error) {
	if f.always {
		f.value, f.revision = f.writes(value), f.revision+1
	}
	next, ok, err := f.fakeStore.Swap(ctx, key, value, revision)
	if ok && !f.always && f.writes != nil {
		f.value, f.revision = f.writes(value), f.revision+1
	}
	return next, ok, err
}

// attacks are what a thief writes, at noon.
func attacks() map[string]func([]byte) []byte {
	const year3000 = int64(32_503_680_000_000)
	var old []byte
	text := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	now := epoch.UnixMilli()
	// Each is written as it would be taken where nothing is sealed, and in the envelope with a MAC of its own.
	plain := map[string]string{
		"no call left":        fmt.Sprintf(`{"hour":{"limit":1000,"left":0,"ends":%d},"spike":{"limit":25,"left":0,"ends":%d}}`, now+hour, now+spike),
		"until the year 3000": fmt.Sprintf(`{"hour":{"limit":1000,"left":0,"ends":%d},"blocked":%d,"asked":%d}`, year3000, year3000, year3000),
		"blocked for an hour": fmt.Sprintf(`{"blocked":%d,"asked":%d}`, now+hour, hour),
		"a limit of one":      `{"hour":{"limit":1,"left":1},"spike":{"limit":1,"left":1}}`,
		"claims":              fmt.Sprintf(`{"hour":{"limit":1000,"left":900,"ends":%d},"claims":{"x":{"calls":1000000000,"until":%d}}}`, now+hour, now+hour),
		"calls without end":   fmt.Sprintf(`{"hour":{"limit":1000000000,"left":1000000000,"ends":%d},"spike":{"limit":1000000000,"left":1000000000,"ends":%d},"mute":%d}`, now+hour, now+spike, now+hour),
		"junk":                "\x00\xff not JSON",
	}
	all := map[string]func([]byte) []byte{
		"an old value": func(value []byte) []byte {
			if old == nil {
				old = value
			}
			return old
		},
		"a large value": text(fmt.Sprintf(`{"value":{},"x":%q}`, make([]byte, 2*maxValue))),
	}
	for name, value := range plain {
		all[name] = text(value)
		all[name+", in the envelope"] = text(fmt.Sprintf(`{"value":%s,"after":18446744073709551615,"mac":"AAAA"}`, value))
	}
	return all
}

// One service's key for the broker is enough to write any value. The processes go on at the pace of Procore's limits,
// and are hardly refused, whether the thief writes once, after each of their values, or faster than they do.
func TestAThiefOfABrokerKeyStopsNoCalls(t *testing.T) {
	const processes, minutes, perWindow = 4, 4, 25
	for name, value := range attacks() {
		for _, how := range []string{"once", "after each", "always"} {
			if how == "always" && name != "junk" && name != "an old value" {
				continue // what is written does not matter then
			}
			t.Run(name+" "+how, func(t *testing.T) {
				w := newSimulation(t, 3, 100_000, perWindow)
				f := &thief{fakeStore: w.store}
				var all []*limiter
				for i := range processes {
					m := w.meter(fmt.Sprint("p", i), 0)
					m.store = f
					all = append(all, m)
					for range 4 {
						w.after(w.trip(), func() { w.caller(m, false) })
					}
				}
				w.run(25 * time.Second) // in peace
				made, refused := w.made, w.refused
				switch how {
				case "once":
					w.store.value, w.store.revision = value(w.store.value), w.store.revision+1
				case "always":
					f.writes, f.always = value, true
				default:
					f.writes = value
				}
				w.run(minutes * time.Minute)
				made, refused = w.made-made, w.refused-refused
				if made < minutes*6*perWindow*7/10 {
					t.Errorf("%d calls in %d minutes of at most %d", made, minutes, minutes*6*perWindow)
				}
				// Each refusal is waited out by the process that met it.
				if most := 6 * minutes * processes; refused > most {
					t.Errorf("%d calls were refused, at most %d may be", refused, most)
				}
				t.Logf("%d calls were made, %d refused", made, refused)
				var ignored int64
				for _, m := range all {
					ignored += m.foreignValues.Load()
				}
				if ignored == 0 {
					t.Error("nothing was ignored")
				}
			})
		}
	}
}

// A store that was made anew has lower revisions: its first value is no old one.
func TestAStoreThatIsMadeAnewIsRead(t *testing.T) {
	w := newSimulation(t, 1, 1000, 25)
	a, b := w.meter("a", 0), w.meter("b", 0)
	for range 3 {
		w.play(t.Context(), a)
		w.play(t.Context(), b)
		w.now = w.now.Add(12 * time.Second)
	}
	w.store.value, w.store.revision = nil, 0
	for range 3 {
		w.play(t.Context(), a)
		w.play(t.Context(), b)
		w.now = w.now.Add(12 * time.Second)
	}
	if n := a.foreignValues.Load() + b.foreignValues.Load(); n > 0 || w.refused > 0 {
		t.Errorf("%d values were ignored, %d calls refused", n, w.refused)
	}
}
