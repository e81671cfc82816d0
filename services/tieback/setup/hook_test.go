package setup

import (
	"testing"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/connection"
)

// If two tokens have the same end, a masked header does not show which one the hook sends.
func TestSendsWithTwoTokensOfTheSameEnd(t *testing.T) {
	w := &work{tokens: []company.Secret{"older-token-0123-54321", "newer-token-4567-54321"}}
	if sends, shown := w.sends(connection.Hook{Header: "*****************54321"}); sends || shown {
		t.Errorf("masked: sends %v, shown %v", sends, shown)
	}
	if sends, shown := w.sends(connection.Hook{Header: "Bearer newer-token-4567-54321"}); !sends || !shown {
		t.Errorf("whole: sends %v, shown %v", sends, shown)
	}
}
