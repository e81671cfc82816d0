package setup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// If the entry has no time zone, lookAtZone sets that of the company's projects, because Procore publishes no time
// zone of a company. If the projects differ, the user decides: the books have one time zone.
func (w *work) lookAtZone(ctx context.Context) {
	if w.entry.Get("time_zone") != "" {
		return
	}
	const option = "with --time-zone, such as America/Chicago; until then dates are in UTC"
	zones, err := w.api().Zones(ctx)
	switch names := slices.Sorted(maps.Keys(zones)); {
	case err != nil:
		w.plan.note("Procore does not return the company's time zone (%v): give it %s", err, option)
	case len(names) == 0:
		w.plan.note("Procore does not return the company's time zone: give it %s", option)
	case len(names) > 1:
		w.plan.note("the company's projects are in several time zones (%s): give the company's %s", count(zones, names), option)
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
