package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/tieback/links"
	"github.com/tieback/tieback/services/tieback/setup"
)

// readLinks keeps the links of the companies, to compare projects with.
func (d *Doctor) readLinks(ctx context.Context, r *report, b *bus.Bus) {
	if state.Of(b) == nil {
		return // told by checkStreams
	}
	d.links = map[int64]map[state.Linked]state.Link{}
	for id := range d.Companies {
		if d.OnlyFor != 0 && d.OnlyFor != id {
			continue
		}
		all, err := state.Of(b).AllLinks(ctx, id)
		if err != nil {
			r.warn("links", "", "they could not be read, so permitted projects are not compared: %v", err)
			return
		}
		d.links[id] = all
	}
}

// mostNamed is how many projects are named one by one.
const mostNamed = 20

// checkProjects looks for projects that Tieback has links of and that Procore does not show to it.
func (d *Doctor) checkProjects(ctx context.Context, r *report, api *setup.API) {
	const check = "projects"
	known, read := d.links[api.Company]
	if !read {
		return // the broker could not be asked, which is a finding of its own
	}
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	hidden, shown, err := links.HiddenProjects(ctx, api.Session, api.Company, known)
	switch {
	case err != nil:
		r.warn(check, "", "Procore's list of projects could not be read: %v", err)
	case len(hidden) > 0:
		names := make([]string, 0, mostNamed+1)
		for i, id := range hidden {
			if i == mostNamed {
				names = append(names, fmt.Sprintf("%d more", len(hidden)-i))
				break
			}
			names = append(names, fmt.Sprint(id))
		}
		r.warn(check, "in Procore an administrator of the company adds them to the app's permitted projects; one that was deleted there needs nothing",
			"Procore shows %d projects to us, and not these, which have links: %s. No event of theirs can be worked", shown, strings.Join(names, ", "))
	default:
		r.ok(check, "Procore shows %d projects to us, and among them all that have links", shown)
	}
}
