// Package conformance proves that a connector keeps the contract of connector.proto: it
// books once, also at once, under crashes, timeouts and lost answers; tells the truth about
// what it did; and loses no cent, no line and no change. After gocloud.dev's driver/drivertest.
//
//	passed     the case found nothing wrong
//	failed     why, and what a real ledger would look like because of it
//	left out   the connector doesn't declare what the case needs, or the target has no hook for it
//
// Only the contract is used: records are made by Put, seen by List, taken away by Remove. The
// suite works from the declared capabilities: what isn't declared is left out, and what is
// declared must work. It builds the master data it needs, touches no record that it did not
// make, and removes none of its own afterwards: run it against books made for testing.
//
//	func TestConformance(t *testing.T) {
//		conformance.Test(t, conformance.Target{Company: 7, Open: open, Restart: killAndStart})
//	}
//
// Of a connector that speaks gRPC package wire makes the target, and the command
// "tieback connector verify" runs the suite.
package conformance
