package syncs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// noted is a state that keeps one cursor.
type noted struct {
	worker.State
	cursor string
}

func (n *noted) Cursor(context.Context, int64, string) (string, error) { return n.cursor, nil }

func (n *noted) SaveCursor(_ context.Context, _ int64, _, cursor string) error {
	n.cursor = cursor
	return nil
}

// So many records wait that the note of them would not fit in a message: the cursor
// stands still, and the next sync starts where this one did.
func TestTooManyWait(t *testing.T) {
	state := &noted{cursor: `{"cursor":"5"}`}
	b, err := openBookmark(t.Context(), &worker.Task{State: state, Event: &tiebackv1.Event{}}, vendor)
	if err != nil {
		t.Fatal(err)
	}
	again := map[string]bool{}
	for i := range maxWaiting + 1 {
		again[fmt.Sprint(i)] = true
	}
	for _, step := range []struct {
		again  map[string]bool
		cursor string
	}{{map[string]bool{"a": true}, "6"}, {again, "7"}, {nil, "8"}} {
		if err := b.note(t.Context(), nil, step.again, step.cursor); err != nil {
			t.Fatal(err)
		}
	}
	if state.cursor != `{"cursor":"6","waiting":["a"]}` {
		t.Error(state.cursor[:min(80, len(state.cursor))])
	}
}

// What no sync of ours wrote is as good as nothing.
func TestForeignNote(t *testing.T) {
	b, err := openBookmark(t.Context(), &worker.Task{State: &noted{cursor: "12"}, Event: &tiebackv1.Event{}}, vendor)
	if err != nil || b.saved.Cursor != "" || len(b.waiting) > 0 {
		t.Error(b, err)
	}
}

// A record that waits, and that the ERP does not have any more, waits no longer.
func TestForget(t *testing.T) {
	state := &noted{cursor: `{"cursor":"5","waiting":["a","b"]}`}
	b, err := openBookmark(t.Context(), &worker.Task{State: state, Event: &tiebackv1.Event{}}, vendor)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.forget(t.Context(), map[string]bool{"a": true}); err != nil || !strings.HasSuffix(state.cursor, `["b"]}`) {
		t.Error(state.cursor, err)
	}
}
