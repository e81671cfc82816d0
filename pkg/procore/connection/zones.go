package connection

import (
	"context"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
)

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
