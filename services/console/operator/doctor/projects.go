package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/console/operator/links"
)

// readLinks reads the links of the companies for checkProjects.
func (d *Doctor) readLinks(ctx context.Context, r *findings, b *bus.Bus) {
	if state.Of(b) == nil {
		return // checkStreams reports it
	}
	d.links = map[int64]map[state.Linked]state.Link{}
	for id := range d.Companies {
		if !d.selected(id) {
			continue
		}
		all, err := state.Of(b).AllLinks(ctx, id)
		if err != nil {
			r.warn("links", "", "they could not be read, so projects are not checked: %v", err)
			return
		}
		d.links[id] = all
	}
}

// maxListed is the largest number of projects that a finding lists.
const maxListed = 20

// checkProjects checks that Procore lists all projects that have links.
func (d *Doctor) checkProjects(ctx context.Context, r *findings, api *connection.API) {
	const check = "projects"
	known, read := d.links[api.Company]
	if !read {
		return // another finding
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	hidden, shown, err := links.HiddenProjects(ctx, api.Session, api.Company, known)
	switch {
	case err != nil:
		r.warn(check, "", "Procore's list of projects could not be read: %v", err)
	case len(hidden) > 0:
		names := make([]string, 0, maxListed+1)
		for i, id := range hidden {
			if i == maxListed {
				names = append(names, fmt.Sprintf("%d more", len(hidden)-i))
				break
			}
			names = append(names, fmt.Sprint(id))
		}
		r.warn(check, "have an administrator of the company add them to the app's permitted projects in Procore; deleted projects need no action",
			"Procore lists %d projects, but not these with links: %s. Their events can't be processed", shown, strings.Join(names, ", "))
	default:
		r.ok(check, "Procore lists %d projects, including all with links", shown)
	}
}
