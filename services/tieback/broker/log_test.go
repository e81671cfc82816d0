package broker

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestRepeatedMessagesAreSampled(t *testing.T) {
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
		text, _ := line.ContextMap()["text"].(string)
		if len(text) > maxText || text == "started" || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%.80q (%d bytes)", text, len(text))
		}
	}
}
