package links

import (
	"cmp"
	"context"
	"slices"
)

// Links are the stored links of a company, without those that have ended.
type Links struct {
	Company int64  `json:"company_id"`
	Links   []Link `json:"links"` // by item type and id
}

// Link says which record of Procore is which record of the ERP.
type Link struct {
	ItemType string `json:"item_type"`
	ItemID   int64  `json:"item_id"`
	OriginID string `json:"origin_id"`
	Request  int64  `json:"request_id"` // ERP request that it was learned from; 0: read from Procore
}

// List returns the stored links of the item types, or all links if none is given.
func List(ctx context.Context, store Store, company int64, itemTypes ...string) (Links, error) {
	all, err := store.AllLinks(ctx, company)
	out := Links{Company: company, Links: []Link{}}
	for r, l := range all {
		if l.OriginID != "" && (len(itemTypes) == 0 || slices.Contains(itemTypes, r.ItemType)) {
			out.Links = append(out.Links, Link{r.ItemType, r.ItemID, l.OriginID, l.Order.Request()})
		}
	}
	slices.SortFunc(out.Links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemID, b.ItemID))
	})
	return out, err
}
