// Package endtoend tests the whole pipeline from Procore's side of the wire: the embedded
// broker on disk, real HTTP both ways, the sandbox as Procore, and the embedded ledger as
// the ERP unless a test says otherwise. Nothing sleeps: tests wait for what the sandbox and
// the pipeline's own streams tell.
package endtoend

import (
	"os"
	"testing"

	"github.com/tieback/tieback/pkg/bus/bustest"
)

// TestMain also runs the process that a poison message kills and a `tieback run` with few descriptors; see
// poisonkill_test.go and descriptors_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(beTheVictim) != "" {
		os.Exit(victim())
	}
	if os.Getenv(fewDescriptors) != "" {
		os.Exit(runWithFewDescriptors())
	}
	bustest.VerifyNoLeaks(m)
}
