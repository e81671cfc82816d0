package links

import (
	"cmp"
	"context"
	"slices"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// List returns the stored links of an item type, or of all with "", without those that have ended, by item type and id.
func List(ctx context.Context, store Store, company int64, itemType string) ([]*operatorv1.Link, error) {
	all, err := store.AllLinks(ctx, company)
	var out []*operatorv1.Link
	for r, l := range all {
		if l.OriginID != "" && (itemType == "" || itemType == r.ItemType) {
			out = append(out, &operatorv1.Link{ItemType: r.ItemType, ItemId: r.ItemID, OriginId: l.OriginID, RequestId: l.Order.Request()})
		}
	}
	slices.SortFunc(out, func(a, b *operatorv1.Link) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemId, b.ItemId))
	})
	return out, err
}
