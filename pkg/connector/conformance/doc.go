// Package conformance tests that a connector keeps the contract of connector.proto. Each record is booked once, also with
// concurrent calls, crashes, timeouts and lost answers. The connector reports what it did truthfully. No cent, no line
// and no change is lost. It is modeled on gocloud.dev's driver/drivertest.
//
//	passed     the case found no error
//	failed     with the reason, and the effect on a real ledger
//	left out   the connector does not declare what the case needs, or the target lacks a hook for it
//
// The suite uses only the contract: it makes records with Put, reads them with List and removes them with Remove. It
// works from the declared capabilities: whatever is not declared is left out, and whatever is declared must work. It
// creates the master data that it needs, changes no records but its own, and does not remove these afterwards.
// Run it on books made for testing.
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, conformance.Target{Company: 7, Open: open, Restart: killAndStart})
//	}
//
// For a connector that speaks gRPC, package wire makes the target, and the command "tieback connector verify" runs the
// suite.
package conformance
