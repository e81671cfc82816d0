package prometheus

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// dashboard has the fields of Grafana's model that the tests check.
type dashboard struct {
	UID         string
	Title       string
	Panels      []panel
	Annotations struct{ List []target }
}

type panel struct {
	ID          int
	Title       string
	Description string
	Datasource  struct{ UID string }
	Targets     []target
	GridPos     struct{ X, Y, W, H int }
}

type target struct {
	Expr       string
	Datasource struct{ UID string }
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	paths, err := filepath.Glob(deploy + "/grafana/dashboards/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	all := map[string]dashboard{}
	for _, path := range paths {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, path)), &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if d.UID+".json" != filepath.Base(path) {
			t.Errorf("%s has the uid %s", path, d.UID)
		}
		all[d.UID] = d
	}
	return all
}

// expressions returns the expressions of all panels.
func expressions(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, d := range dashboards(t) {
		for _, a := range d.Annotations.List {
			all = append(all, a.Expr)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, target.Expr)
			}
		}
	}
	return all
}

func TestPanels(t *testing.T) {
	var provisioned struct{ Datasources []struct{ UID string } }
	if err := yaml.Unmarshal([]byte(read(t, deploy+"/grafana/provisioning/datasources/prometheus.yaml")), &provisioned); err != nil {
		t.Fatal(err)
	}
	uid := provisioned.Datasources[0].UID
	for name, d := range dashboards(t) {
		ids := map[int]bool{}
		for i, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Description == "" || p.Datasource.UID != uid || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks a field, or its id or source is wrong", name, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				if target.Expr == "" || target.Datasource.UID != uid {
					t.Errorf("%s: %q has no expression, or another source", name, p.Title)
				}
			}
			if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W*p.GridPos.H == 0 {
				t.Errorf("%s: %q is outside of the grid", name, p.Title)
			}
			for _, other := range d.Panels[:i] {
				if overlap(p, other) {
					t.Errorf("%s: %q overlaps %q", name, p.Title, other.Title)
				}
			}
		}
	}
}

func overlap(a, b panel) bool {
	p, q := a.GridPos, b.GridPos
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}
