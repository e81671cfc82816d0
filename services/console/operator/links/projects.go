package links

import (
	"context"
	"slices"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
)

// HiddenProjects reads Procore's list of projects to its end. It returns the linked projects that the list does not
// show, ordered by id, and how many projects it shows. A project is hidden when it is not permitted to the app, or
// deleted.
func HiddenProjects(ctx context.Context, s Session, company int64, links map[state.Linked]state.Link) (hidden []int64, shown int, err error) {
	i := slices.IndexFunc(table, func(l list) bool { return l.itemType == "project" })
	call, err := table[i].call(place{company: company})
	if err != nil {
		return nil, 0, err
	}
	seen := map[int64]bool{}
	for project, err := range s.List(ctx, call) {
		if err != nil {
			return nil, 0, err
		}
		seen[procore.ID(project["id"])] = true
	}
	for of, link := range links {
		if of.ItemType == "project" && link.OriginID != "" && !seen[of.ItemID] {
			hidden = append(hidden, of.ItemID)
		}
	}
	slices.Sort(hidden)
	return hidden, len(seen), nil
}
