package connection

import (
	"testing"

	"github.com/tieback/tieback/pkg/company"
)

// Procore documents that it masks a hook's header but for the last 5 characters. How is not documented.
func TestSendsComparesTheVisiblePart(t *testing.T) {
	const token = company.Secret("0123456789abcdef-54321")
	for header, want := range map[string]struct{ sends, shown bool }{
		"Bearer 0123456789abcdef-54321":   {true, true},
		"Bearer 9123456789abcdef-54321":   {false, true}, // complete: its end is not compared
		"*****************************":   {false, false},
		"************************54321":   {true, true},
		"************************54322":   {false, true},
		"Bearer ****************-54321":   {true, true},
		"Bearer XXXXXXXXXXXXXXXXX54321":   {true, true},
		"XXXXXXXXXXXXXXXXXXXXXXXX54322":   {false, true},
		"•••••54321":                      {true, true},
		"...54321":                        {true, true},
		"54321":                           {true, true},
		"[FILTERED]":                      {false, false},
		"":                                {false, false},
		"Basic 0123456789abcdef-00000":    {false, true},
		"Bearer of-nobody-0123456789abcd": {false, true},
	} {
		if sends, shown := (Hook{Header: header}).Sends(token); sends != want.sends || shown != want.shown {
			t.Errorf("%q: sends %v, shown %v", header, sends, shown)
		}
	}
}

func TestTriggersAreComparedWithoutCase(t *testing.T) {
	for _, event := range []string{"create", "CREATE", "Create"} {
		if (Hook{Triggers: []Trigger{{ID: 1, Resource: "ERP Requests", Event: event}, {ID: 2, Resource: "ERP Requests", Event: "UPDATE"}}}).Listens() != 1 {
			t.Errorf("%s is not found", event)
		}
	}
}
