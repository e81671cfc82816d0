package worker

import (
	"context"
	"fmt"
)

// SaveForgottenLink records that a reset removed the link of a record that the ERP keeps under the origin id
// origin. It does nothing if origin is empty.
func (t *Task) SaveForgottenLink(ctx context.Context, itemType string, id int64, origin string) error {
	if origin == "" {
		return nil
	}
	return t.State.SaveCursor(ctx, t.Event.CompanyId, forgottenKey(itemType, id), origin)
}

// ForgottenLink returns the origin id that a reset recorded for a record, or "" if no reset did. Since then the ERP
// may have lost its record with this origin id, or the record may have been linked to another record of Procore.
func (t *Task) ForgottenLink(ctx context.Context, itemType string, id int64) (string, error) {
	return t.State.Cursor(ctx, t.Event.CompanyId, forgottenKey(itemType, id))
}

// forgottenKey is a key among the cursors.
func forgottenKey(itemType string, id int64) string { return fmt.Sprintf("kept-%s-%d", itemType, id) }
