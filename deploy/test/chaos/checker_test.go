package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
)

// Each kind of failure makes the verdict fail and is printed.
func TestEveryWayToGoWrongIsTold(t *testing.T) {
	whole := func() *verdict { return &verdict{seed: 7, faults: map[string]int{"full disk": 1}} }
	for _, tt := range []struct {
		why   string
		wrong func(*verdict)
	}{
		{"lost", func(v *verdict) { v.lost = append(v.lost, "request 1") }},
		{"doubled", func(v *verdict) { v.doubled = append(v.doubled, "request 1") }},
		{"stuck", func(v *verdict) { v.stuck = append(v.stuck, "request 1") }},
		{"wrong", func(v *verdict) { v.wrong = append(v.wrong, "request 1") }},
	} {
		v := whole()
		if !v.ok() {
			t.Fatal("a whole verdict is not ok")
		}
		tt.wrong(v)
		sum := total{began: time.Now()}
		sum.add(v)
		var out strings.Builder
		v.print(&out)
		if v.ok() || len(sum.failed) != 1 || !strings.Contains(out.String(), tt.why+": request 1") || !strings.Contains(out.String(), "FAILED") {
			t.Errorf("%s: ok %v, failed %v, printed:\n%s", tt.why, v.ok(), sum.failed, &out)
		}
	}
}

// The status of a request in Procore is compared with the messages of the pipeline.
func TestRequestIsCheckedInProcoreAndInTheStreams(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		why                  string
		request              sandbox.Request
		told                 int
		lost, doubled, stuck int
	}{
		{"closed, and told once", sandbox.Request{ID: 1, Closed: now}, 1, 0, 0, 0},
		{"closed, and the pipeline knows nothing of it", sandbox.Request{ID: 1, Closed: now}, 0, 1, 0, 0},
		{"closed, and told twice", sandbox.Request{ID: 1, Closed: now}, 2, 0, 1, 0},
		{"told, and the button is still busy", sandbox.Request{ID: 1}, 1, 0, 0, 1},
	} {
		cl := &cluster{watcher: &watcher{closed: map[int64]int{1: tt.told}, dead: map[int64]int{}}}
		v := &verdict{}
		cl.checkRequest(v, tt.request)
		if len(v.lost) != tt.lost || len(v.doubled) != tt.doubled || len(v.stuck) != tt.stuck {
			t.Errorf("%s: %d lost, %d doubled, %d stuck", tt.why, len(v.lost), len(v.doubled), len(v.stuck))
		}
	}
}

// A click fails rightly only if its vendor has a newer click, or one made in the same second.
func TestClickMayBeSuperseded(t *testing.T) {
	at := func(d time.Duration) sandbox.Request {
		return sandbox.Request{Clicked: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC).Add(d)}
	}
	requests := map[int64]sandbox.Request{1: at(500 * time.Millisecond), 2: at(900 * time.Millisecond), 3: at(2500 * time.Millisecond), 4: at(9 * time.Second)}
	clicks := []click{{request: 1, vendor: 7}, {request: 2, vendor: 7}, {request: 3, vendor: 7}, {request: 4, vendor: 8}}
	for i, want := range []bool{true, true, false, false} {
		if got := mayBeSuperseded(clicks[i], clicks, requests); got != want {
			t.Errorf("click %d may be superseded: %v, want %v", i+1, got, want)
		}
	}
	if !mayBeSuperseded(clicks[1], clicks[:2], requests) {
		t.Error("the newer click of a second can't be superseded by the older one")
	}
}
