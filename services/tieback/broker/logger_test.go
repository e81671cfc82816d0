package broker

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestTheLogOfABrokerThatRepeatsItselfIsBounded(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zapcore.DebugLevel)
	l := newLogger(zap.New(core))
	for range 1000 {
		l.Warnf("disk %s\n", strings.Repeat("x", 1<<20))
		l.Errorf("broken")
		l.Noticef("started")
	}
	if n := logged.Len(); n != 2*burst {
		t.Errorf("%d lines, want %d", n, 2*burst)
	}
	for _, line := range logged.All() {
		says, _ := line.ContextMap()["says"].(string)
		if len(says) > longest || says == "started" || strings.ContainsAny(says, "\n\x1b") {
			t.Errorf("%.80q (%d bytes)", says, len(says))
		}
	}
}
