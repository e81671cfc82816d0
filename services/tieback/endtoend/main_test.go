// Package endtoend tests the whole pipeline from Procore's side of the wire: the embedded
// broker on disk, real HTTP both ways, the sandbox as Procore, and the embedded ledger as
// the ERP unless a test says otherwise. Nothing sleeps: tests wait for what the sandbox and
// the pipeline's own streams tell.
package endtoend

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
