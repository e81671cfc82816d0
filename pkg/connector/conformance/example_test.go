package conformance

import (
	"context"
	"fmt"
	"regexp"
	"testing"
)

// A connector's test opens its driver on books made for testing. Restart and Rehearse are optional; without them the cases
// that need them are skipped.
func ExampleTest() {
	books := newERP(flaw{}) // the ERP of your connector
	test := func(t *testing.T) {
		Test(t, Target{Company: 7, Open: books.open, Restart: books.restart, Rehearse: rehearse})
	}
	_ = test // go test calls it

	report, err := Run(context.Background(), Target{Company: 7, Open: books.open}, Options{Run: regexp.MustCompile("^(the same key twice|throttled)$")})
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
