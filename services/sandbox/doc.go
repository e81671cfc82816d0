// Package sandbox stands in for Procore in local runs and in tests: the API that an ERP
// integration calls, the webhooks it receives, and the users who press the buttons.
//
//	a user presses a button          POST /sandbox/companies/{id}/press/{event_type}, Press
//	  └─ an ERP request              GET  …/erp_requests/{id}
//	       ├─ its request details    PATCH …/erp_request_details/{id}, …/sync
//	       └─ a webhook delivery     POST to the company's hook, again and again until 2xx
//
// It is as strict as what Procore publishes and no kinder: an id it never issued, an origin id
// used twice, a final request detail touched again, a call without Procore-Company-Id are all
// refused with a sentence that says what to do. All state is in memory; nothing outlives the
// process. Ids start above 2^53, so that whoever reads one through a float64 finds out.
//
// A request that differs from its published operation, in its query or in a field, is refused before
// anything else, where Procore would drop a part without a word; Violations lists such requests. Package
// pkg/procore/schema has the operations, and the source of those that Procore does not publish.
//
// Source of every rule: what Procore publishes about its ERP platform (developers.procore.com:
// ERP Integration, Webhooks API, Rate Limiting, Sync Actions). Where the reference page of a
// path could not be read, the path is inferred from a documented sibling; routes.go marks those.
package sandbox
