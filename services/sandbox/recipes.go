package sandbox

import (
	"fmt"
	"net/http"
	"slices"
)

// recipe is a failure to try: it adds fault rules, then raises an export of a vendor.
type recipe struct {
	Name   string
	What   string // what fails
	Result string // what Tieback does
	rules  []FaultRule
	spoil  func(payload map[string]any) // nil: the payload stays as it is
}

// recipes are described in README.md too; a test compares it with this table.
var recipes = []recipe{
	{
		Name: "procore-down", What: "Procore answers 503 for 20 seconds.",
		Result: "The request waits for Procore, and succeeds when Procore answers again.",
		rules:  []FaultRule{{Kind: FaultStatus, Status: http.StatusServiceUnavailable, Seconds: 20}},
	},
	{
		Name: "rate-limit", What: "Procore answers the next three calls with 429, to be repeated after 5 seconds.",
		Result: "Tieback makes no call before then. The request succeeds.",
		rules:  []FaultRule{{Kind: FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: 5, Times: 3}},
	},
	{
		Name: "lost-answer", What: "Procore marks the vendor as synced, and the answer is lost.",
		Result: "Tieback repeats the mark. The vendor is booked once.",
		rules:  []FaultRule{{Kind: FaultLoseAnswer, Method: http.MethodPatch, Path: "external_data/sync", Times: 1}},
	},
	{
		Name: "expired-token", What: "The access token expires early.",
		Result: "Tieback fetches a new one. The request succeeds at once.",
		rules:  []FaultRule{{Kind: FaultExpire, Times: 1}},
	},
	{
		Name: "no-answer", What: "Procore does not answer when the request is to be closed.",
		Result: "The call ends after 30 seconds and is repeated. The request succeeds.",
		rules:  []FaultRule{{Kind: FaultHang, Method: http.MethodPatch, Path: "erp_request_details", Times: 1}},
	},
	{
		Name: "malformed", What: "The vendor's id is not a number.",
		Result: "The request is closed as failed, and a dead letter needs attention. Correct the id in the console: Edit and replay.",
		spoil: func(payload map[string]any) {
			Set(payload, "request_data.vendor.id", "V-12")
		},
	},
}

// Follow follows a recipe for a company, and returns the id of the request.
func (sb *Sandbox) Follow(companyID int64, name string) (int64, error) {
	i := slices.IndexFunc(recipes, func(r recipe) bool { return r.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("%q is not a recipe", name)
	}
	payload, err := sb.Sample(companyID, "create_vendor", nil)
	if err != nil {
		return 0, err
	}
	if recipes[i].spoil != nil {
		recipes[i].spoil(payload)
	}
	for _, rule := range recipes[i].rules {
		if err := sb.Fail(rule); err != nil {
			return 0, err
		}
	}
	return sb.Press(companyID, "create_vendor", payload)
}
