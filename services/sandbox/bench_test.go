package sandbox_test

import (
	"testing"

	"github.com/tieback/tieback/services/sandbox"
)

// A press up to the queued delivery. The benchmark of the pipeline makes 1,000 per second.
func BenchmarkPressCommitment(b *testing.B) {
	sb := newSandbox(b, sandbox.Config{CallLog: -1})
	payload, err := sb.Sample(mine, "create_commitment", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sb.Press(mine, "create_commitment", payload); err != nil {
			b.Fatal(err)
		}
	}
}
