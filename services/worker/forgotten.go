package worker

import (
	"context"
	"fmt"
)

// SaveForgottenLink notes that a reset forgot the link of a record that the ERP keeps as origin. An empty origin notes nothing.
func (t *Task) SaveForgottenLink(ctx context.Context, itemType string, id int64, origin string) error {
	if origin == "" {
		return nil
	}
	return t.State.SaveCursor(ctx, t.Event.CompanyId, keptKey(itemType, id), origin)
}

// ForgottenLink is what a reset noted of a record; "": there was none. The ERP may have lost it since, or another record
// of Procore may be linked to it.
func (t *Task) ForgottenLink(ctx context.Context, itemType string, id int64) (string, error) {
	return t.State.Cursor(ctx, t.Event.CompanyId, keptKey(itemType, id))
}

// keptKey keeps the note among the cursors.
func keptKey(itemType string, id int64) string { return fmt.Sprintf("kept-%s-%d", itemType, id) }
