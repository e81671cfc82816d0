package procore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPathHasItsIDs(t *testing.T) {
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
	for text, says := range map[string]string{"trigger_delete: x\n": "must start with /", "trigger_delete: /{hook}\n": "{hook} is unknown"} {
		write(text)
		if _, err := LoadRoutes(file); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
