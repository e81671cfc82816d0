package conformance_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/pkg/connector/conformance/wire"
)

// A connector's test opens its driver on books made for testing. Restart and Rehearse are optional; without them the cases
// that need them are skipped.
func ExampleTest() {
	books := conformance.NewBooks() // here, the books of your connector

	testConformance := func(t *testing.T) { // in your test file: func TestConformance(t *testing.T)
		conformance.Test(t, conformance.Target{
			Company:  7,
			Open:     books.Open,    // opens another driver on the same books
			Restart:  books.Restart, // kills the process that keeps the books, and starts it again
			Rehearse: wire.Rehearse, // if the driver calls rehearsal.Of, or is wrapped by rehearsal.Edge
		})
	}
	_ = testConformance

	// Without package testing, for two cases:
	report, err := conformance.Run(context.Background(), conformance.Target{Company: 7, Open: books.Open},
		conformance.Options{Run: regexp.MustCompile("^(the same key twice|throttled)$")})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range report.Results {
		fmt.Printf("%s: %s\n", r.Case.Name, r.Outcome)
	}
	fmt.Println(report.Summary())
	// Output:
	// the same key twice: passed
	// throttled: left out
	// ok: 1 case passed, 1 left out
}
