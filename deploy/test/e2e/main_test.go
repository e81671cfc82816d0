// Package endtoend tests the promises of README.md with the whole pipeline: the embedded broker on disk, HTTP in both directions,
// the sandbox as Procore, and the embedded ledger as the ERP unless a test replaces it. The promises and their files:
//
//	nothing is lost                             crash, faults, fulldisk, ingest, poison, poisonkill, resources, sweep
//	nothing is booked twice                     dead, order, redelivery, reset
//	success is reported only when it is true    deadline, longanswer
//	no button stays busy; a company's trouble
//	does not delay another                      deadline, fair, pause, recipes, trouble
//	all 51 event types are handled              demo, sync, writes
//	old and rejected requests are skipped       skipped
//	an operator finds out what happened         audit, console, dead, links, status, telemetry, trace
//	a key permits only the work of its service  keys
//	secrets rotate and are not disclosed        rotate, secrets
//	two versions run side by side               upgrade
//	hostile input does not stop the process     descriptors, hostile
//
// world_test.go and the files *_rig_test.go have the rig. Tests wait for what the sandbox and the streams show.
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
