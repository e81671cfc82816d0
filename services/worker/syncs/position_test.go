package syncs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// cursorState is a state with one cursor.
type cursorState struct {
	worker.State
	cursor string
}

func (n *cursorState) Cursor(context.Context, int64, string) (string, error) { return n.cursor, nil }

func (n *cursorState) SaveCursor(_ context.Context, _ int64, _, cursor string) error {
	n.cursor = cursor
	return nil
}

// The list of waiting records would not fit in a message, so the position is not saved, and the next sync starts
// where this one did.
func TestCursorIsNotSavedWhenTooManyRecordsWait(t *testing.T) {
	state := &cursorState{cursor: `{"cursor":"5"}`}
	p, err := loadPosition(t.Context(), &worker.Task{State: state, Event: &tiebackv1.Event{}}, vendor)
	if err != nil {
		t.Fatal(err)
	}
	retry := map[string]bool{}
	for i := range maxWaiting + 1 {
		retry[fmt.Sprint(i)] = true
	}
	for _, step := range []struct {
		retry  map[string]bool
		cursor string
	}{{map[string]bool{"a": true}, "6"}, {retry, "7"}, {nil, "8"}} {
		if err := p.advance(t.Context(), nil, step.retry, step.cursor); err != nil {
			t.Fatal(err)
		}
	}
	if state.cursor != `{"cursor":"6","waiting":["a"]}` {
		t.Error(state.cursor[:min(80, len(state.cursor))])
	}
}

// A cursor that no sync wrote counts as none.
func TestUnreadableCursorStartsOver(t *testing.T) {
	p, err := loadPosition(t.Context(), &worker.Task{State: &cursorState{cursor: "12"}, Event: &tiebackv1.Event{}}, vendor)
	if err != nil || p.saved.Cursor != "" || len(p.waiting) > 0 {
		t.Error(p, err)
	}
}

// A waiting record that the ERP no longer has is removed from the list.
func TestForgetRemovesWaitingRecords(t *testing.T) {
	state := &cursorState{cursor: `{"cursor":"5","waiting":["a","b"]}`}
	p, err := loadPosition(t.Context(), &worker.Task{State: state, Event: &tiebackv1.Event{}}, vendor)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.forget(t.Context(), map[string]bool{"a": true}); err != nil || !strings.HasSuffix(state.cursor, `["b"]}`) {
		t.Error(state.cursor, err)
	}
}
