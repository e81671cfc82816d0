package setup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
)

// lookAtZone sets the time zone of an entry without one to that of the company's projects, as Procore
// publishes no time zone of a company. If the projects differ, the user decides: the books have one time
// zone.
func (w *work) lookAtZone(ctx context.Context) {
	if w.entry.Get("time_zone") != "" {
		return
	}
	const by = "give it with --time-zone, such as America/Chicago; until then dates are in UTC"
	zones, err := w.api().Zones(ctx)
	switch names := slices.Sorted(maps.Keys(zones)); {
	case err != nil:
		w.plan.note("Procore does not return the company's time zone (%v): %s", err, by)
	case len(names) == 0:
		w.plan.note("Procore does not return the company's time zone: %s", by)
	case len(names) > 1:
		w.plan.note("the company's projects are in several time zones (%s): %s", count(zones, names), by)
	case w.entry.Set("time_zone", names[0]):
		w.fields = append(w.fields, "time_zone")
		w.plan.note("the company's time zone is %s, that of its projects in Procore; --time-zone changes it", names[0])
	}
}

func count(zones map[string]int, names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%s %d", name, zones[name]))
	}
	return strings.Join(all, ", ")
}

// Zones counts the IANA time zones of the company's active projects, on the first page of the list. If a
// project's time_zone in the list is not an IANA name, its tz_name is used.
func (a *API) Zones(ctx context.Context) (map[string]int, error) {
	projects, err := a.list(ctx, procore.Call{Route: procore.ListProjects, Query: procore.Query("company_id", a.Company, "page", 1, "per_page", 100)})
	if err != nil {
		return nil, err
	}
	zones, known := map[string]int{}, map[string]string{"": ""}
	for _, p := range projects {
		written, _ := p["time_zone"].(string)
		name, seen := known[written]
		if !seen {
			if name, err = a.zone(ctx, written, procore.ID(p["id"])); err != nil {
				return nil, err
			}
			known[written] = name
		}
		if name != "" {
			zones[name]++
		}
	}
	return zones, nil
}

// zone returns the IANA name of a project's time zone, or "" if there is none.
func (a *API) zone(ctx context.Context, written string, project int64) (string, error) {
	if _, err := company.ParseZone(written); err == nil {
		return written, nil
	}
	shown, err := a.object(ctx, procore.Call{Route: procore.ShowProject, ID: project, Query: procore.Query("company_id", a.Company)})
	if err != nil {
		return "", err
	}
	name, _ := shown["tz_name"].(string)
	if _, err := company.ParseZone(name); err != nil {
		return "", nil
	}
	return name, nil
}
