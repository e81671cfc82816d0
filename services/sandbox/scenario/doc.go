// Package accountants is the demo's play: the accountants of a few companies create records in
// Procore and press Export, Sync, Import, Unlink and Reset in an order that makes sense, with
// all 51 event types, while their colleagues in the ERP add and delete records of their own.
//
//	opening    metadata, categories, standard cost codes      (each waits for the one before)
//	people     vendors out, vendors in, linked, merged
//	jobs       jobs and sub jobs, out and in
//	work       per job: budget, commitments, invoices, payments, prime contract …
//	undoing    unlinks, refused while the record is still in the ERP; resets
//	mishaps    what must fail, and what nobody could work
//
// A round waits for what it depends on: a commitment is exported with the origin ids that came
// back for its vendor, job and cost codes. What can't be pressed because something before it
// was lost is listed in the report as skipped.
package scenario
