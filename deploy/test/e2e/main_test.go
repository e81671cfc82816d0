// Package endtoend tests the whole pipeline from Procore's side of the wire: the embedded
// broker on disk, real HTTP both ways, the sandbox as Procore, and the embedded ledger as
// the ERP unless a test says otherwise. Nothing sleeps: tests wait for what the sandbox and
// the pipeline's own streams tell.
package endtoend

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The embedded nats-server keeps the staging store of an atomic batch that its client did not
// finish for ten seconds, also when it is shut down meanwhile (server/jetstream_batching.go,
// cleanup): crashing pipelines leave such batches. All other goroutines must have ended.
//
// The test binary is also the process that a poison message kills, and a
// `tieback run` with few descriptors; see poisonkill_test.go and descriptors_test.go.
func TestMain(m *testing.M) {
	if os.Getenv(beTheVictim) != "" {
		os.Exit(victim())
	}
	if os.Getenv(fewDescriptors) != "" {
		os.Exit(runWithFewDescriptors())
	}
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(server+".(*msgBlock).flushLoop"),
		goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}
