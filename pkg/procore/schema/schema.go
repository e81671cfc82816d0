// Package schema checks requests against the operations that Procore publishes.
//
// Two fixtures describe the operations:
//
//	openapi.json      published: the operations that Tieback calls or could call, trimmed from
//	                  the list of 292 operations that Procore publishes (see fixture_test.go)
//	unpublished.json  the others, by name, each with the source of its shape; and what a
//	                  published operation leaves out, such as a body that is cut to {}
//
// The sandbox refuses what Check finds, and package procoretest reports it for tests with a fake
// Procore of their own. Production code does not import this package.
//
// Procore drops unknown fields and query parameters without a word, so Check counts them as
// violations. The fragments are cut at some depth: "(nested object)" and {} allow anything.
package schema

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Violation is one difference between a request and its operation.
type Violation struct {
	At  string // the place: "path", "query project_id", "body updates[3].code"
	Why string // "is not a field of this operation"
}

func (v Violation) String() string { return v.At + " " + v.Why }

// operation is one entry of a fixture.
type operation struct {
	Name       string      `json:"name,omitempty"`   // unpublished: of our route
	Source     string      `json:"source,omitempty"` // unpublished: where the shape comes from
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Parameters []parameter `json:"parameters,omitempty"`
	Body       *body       `json:"body,omitempty"`
	Answers    []string    `json:"answers,omitempty"` // fields of a list's records; nil: cut, or no list
}

type parameter struct {
	Name     string   `json:"name"`
	In       string   `json:"in"` // "path" or "query"
	Required bool     `json:"required,omitempty"`
	Either   bool     `json:"either,omitempty"` // one of the parameters with this mark is enough
	Schema   fragment `json:"schema"`
}

type body struct {
	Required bool     `json:"required,omitempty"`
	Schema   fragment `json:"schema"`
}

var (
	//go:embed openapi.json
	openapi []byte
	//go:embed unpublished.json
	others []byte

	published   = parse(openapi)
	unpublished = parse(others)
	operations  = merge(published, unpublished)
)

// parse reads a fixture. The fixtures are part of the program, so a mistake in one panics.
func parse(raw []byte) []operation {
	var ops []operation
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&ops); err != nil {
		panic("schema: fixture: " + err.Error())
	}
	return ops
}

// merge adds rows to the published operations. A row for a published operation gives the
// parameters and the body that the published one lacks.
func merge(published, rows []operation) map[string]operation {
	all := make(map[string]operation, len(published)+len(rows))
	for _, op := range published {
		all[op.Method+" "+op.Path] = op
	}
	for _, row := range rows {
		key := row.Method + " " + row.Path
		if op, ok := all[key]; ok {
			op.Parameters = slices.Concat(op.Parameters, row.Parameters)
			if row.Body != nil {
				op.Body = row.Body
			}
			row = op
		}
		all[key] = row
	}
	return all
}

// Check returns how a request differs from its operation; nil: it does not.
// The path is one of the API, "/rest/v1.0/projects/7", without its query.
func Check(method, path string, query url.Values, body []byte) []Violation {
	op, values, ok := find(method, path)
	if !ok {
		return []Violation{{"path", fmt.Sprintf("%s %s is neither a published operation nor a row of unpublished.json", method, path)}}
	}
	bad := op.checkPath(values)
	bad = append(bad, op.checkQuery(query)...)
	return append(bad, op.checkBody(body)...)
}

// Known says whether a method and a path, with or without placeholders, are an operation.
func Known(method, path string) bool {
	_, _, ok := find(method, path)
	return ok
}

// Answers returns the fields of the records of a published list; nil where they are not published.
func Answers(method, path string) []string {
	op, _, _ := find(method, path)
	return op.Answers
}

// find picks the operation of a path and the values of its placeholders: "/projects/sync" before
// "/projects/{id}". A placeholder in the path itself matches placeholders only.
func find(method, path string) (operation, map[string]string, bool) {
	got := strings.Split(path, "/")
	var best operation
	var values map[string]string
	for _, op := range operations {
		want := strings.Split(op.Path, "/")
		if op.Method != method || len(want) != len(got) {
			continue
		}
		filled, fits := map[string]string{}, true
		for i, w := range want {
			name, placeholder := strings.CutPrefix(w, "{")
			switch {
			case placeholder:
				filled[strings.TrimSuffix(name, "}")] = got[i]
			case w != got[i]:
				fits = false
			}
		}
		if fits && (values == nil || len(filled) < len(values)) {
			best, values = op, filled
		}
	}
	return best, values, values != nil
}

func (op operation) checkPath(values map[string]string) []Violation {
	var bad []Violation
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name]
		if _, err := strconv.ParseInt(v, 10, 64); err != nil && !strings.HasPrefix(v, "{") {
			bad = append(bad, Violation{"path " + name, fmt.Sprintf("is %q and must be an id", v)})
		}
	}
	return bad
}

// paging may be in the query of every list, whether or not its operation names it.
var paging = []string{"page", "per_page"}

func (op operation) checkQuery(query url.Values) []Violation {
	var bad []Violation
	params := map[string]parameter{}
	either, given := []string{}, false
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		params[p.Name] = p
		switch {
		case p.Either:
			either, given = append(either, p.Name), given || query.Has(p.Name)
		case p.Required && !query.Has(p.Name):
			bad = append(bad, Violation{"query " + p.Name, "is missing"})
		}
	}
	if len(either) > 0 && !given {
		bad = append(bad, Violation{"query " + strings.Join(either, " or "), "is missing"})
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		p, known := params[name]
		if !known && op.Method == "GET" && slices.Contains(paging, name) {
			p, known = parameter{Schema: fragment{Type: "integer"}}, true
		}
		if !known {
			bad = append(bad, Violation{"query " + name, "is not a parameter of this operation"})
			continue
		}
		for _, v := range query[name] {
			bad = append(bad, p.Schema.text("query "+name, v)...)
		}
	}
	return bad
}

func (op operation) checkBody(raw []byte) []Violation {
	switch {
	case op.Body == nil && len(raw) > 0:
		return []Violation{{"body", "is not part of this operation"}}
	case op.Body == nil, len(raw) == 0 && !op.Body.Required:
		return nil
	case len(raw) == 0:
		return []Violation{{"body", "is missing"}}
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // ids need 64 bits
	if err := dec.Decode(&v); err != nil {
		return []Violation{{"body", "is not JSON: " + err.Error()}}
	}
	return op.Body.Schema.check("body", v)
}

// Unpublished returns the rows of unpublished.json as "METHOD path".
func Unpublished() []string {
	var out []string
	for _, row := range unpublished {
		out = append(out, row.Method+" "+row.Path)
	}
	return out
}
