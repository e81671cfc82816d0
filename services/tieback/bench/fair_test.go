package bench

import (
	"testing"
	"time"
)

// The bounds are values of the sample, as far from the p99 as its rank may be by chance.
func TestP99Interval(t *testing.T) {
	var r result
	for ms := range 1201 {
		r.Exports = append(r.Exports, export{Closed: time.Time{}.Add(time.Duration(ms) * time.Millisecond)})
	}
	if p99 := r.latency(0.99); p99 != 1188 {
		t.Errorf("p99 %v", p99)
	}
	if low, high := r.p99Interval(); low != 1181 || high != 1194 {
		t.Errorf("from %v to %v", low, high)
	}
	r.Exports = r.Exports[:20] // too few for a p99: the interval ends at the largest value
	if low, high := r.p99Interval(); low != 17 || high != 19 {
		t.Errorf("of 20: from %v to %v", low, high)
	}
}
