package procore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	c := Call{Route: DeleteTrigger, Hook: 8, ID: 9}
	if got := c.Route.path(nil, 7, c); got != "/rest/v1.0/webhooks/hooks/8/triggers/9" {
		t.Error(got)
	}
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("trigger_delete: /x/{company_id}/{hook_id}/{id}\n")
	over, err := LoadRoutes(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Route.path(over, 7, c); got != "/x/7/8/9" {
		t.Error(got)
	}
	// An override can add a query to a route, so that a missing parameter needs no new release.
	write("trigger_delete: /x/{id}?company_id={company_id}&view=extended\n")
	if over, err = LoadRoutes(file); err != nil {
		t.Fatal(err)
	}
	c.Query = Query("project_id", int64(5), "view", "default")
	if got := c.Route.path(over, 7, c); got != "/x/9?company_id=7&project_id=5&view=extended" || c.Query.Get("view") != "default" {
		t.Error(got, c.Query)
	}
	for text, says := range map[string]string{
		"trigger_delete: x\n": "must start with /", "trigger_delete: /{hook}\n": "{hook} is unknown",
		"trigger_delete: /x?a=%zz\n": "name=value pairs", "trigger_delete: \"/x#a\"\n": "name=value pairs",
	} {
		write(text)
		if _, err := LoadRoutes(file); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
