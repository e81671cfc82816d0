package fault_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// A driver classifies each error. The pipeline handles the error by its class.
func Example() {
	for _, err := range []error{
		fault.Refused("code", "The job code %s is already used. Choose another code.", "J-1"),
		fault.Wait(30*time.Second, errors.New("429 Too Many Requests")),
		fault.New(fault.Ambiguous, errors.New("connection reset by peer")),
		fmt.Errorf("export of vendor 35: %w", errors.New("no space left on device")),
	} {
		switch fault.ClassOf(err) {
		case fault.Permanent:
			fmt.Printf("close as failed, field %s: %s\n", fault.Field(err), fault.UserMessage(err, ""))
		case fault.Throttled:
			fmt.Println("retry in", fault.RetryAfter(err))
		case fault.Ambiguous:
			fmt.Println("look up by key:", err)
		case fault.Transient:
			fmt.Println("retry:", err)
		}
	}
	// Output:
	// close as failed, field code: The job code J-1 is already used. Choose another code.
	// retry in 30s
	// look up by key: connection reset by peer
	// retry: export of vendor 35: no space left on device
}
