package company

import (
	"strings"
	"testing"
)

// FuzzParse parses arbitrary companies files. Parse never panics, returns no incomplete company, and has no secret in its
// error.
func FuzzParse(f *testing.F) {
	const secret = "geheim-0123456789"
	for _, seed := range []string{
		"", "companies:", "companies: []", "companies: [{}]", "companies: {}", "companies: [null]", "- 1", "\t", "companies: [{id: 1e3}]",
		"companies: [{id: 7, client_id: c, client_secret: " + secret + ", webhook_tokens: [" + secret + "], connector: {driver: x}}]",
		"companies: [{id: -7, client_id: c, client_secret: " + secret + ", webhook_tokens: [x, y, z], connector: {driver: x}}]",
		"companies: [{id: 7, client_id: c, client_secret: [" + secret + "], webhook_tokens: " + secret + ", connector: " + secret + "}]",
		"companies: [{id: 9223372036854775808, clientsecret: " + secret + "}]", "companies: &a [*a]",
		"clients: [{name: a, client_id: c, client_secret: " + secret + "}]\ncompanies: [{id: 7, client: a, webhook_tokens: [" + secret + "], connector: {driver: x}}]",
		"clients: [{name: " + secret + "}]\ncompanies: [{id: 7, client: " + secret + "}]", "clients: &a [*a]\ncompanies: [{id: 7}]", "clients: [{" + secret + ": 1, api_url: " + secret + "}]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, "_file") {
			return // it would read this machine's files
		}
		set, err := Parse([]byte(raw))
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error has a secret: %v", err)
		}
		if err != nil {
			return
		}
		if len(set) == 0 {
			t.Error("no company and no error")
		}
		for id, c := range set {
			if id <= 0 || c == nil || c.ID != id || c.Driver == "" || c.Client == nil || c.Client.Credentials().ID == "" || c.Authentic("") {
				t.Errorf("company %d is incomplete: %+v", id, c)
			}
		}
	})
}
