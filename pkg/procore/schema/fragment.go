package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fragment is a piece of a JSON Schema with the keywords that Procore's fragments use, and
// nullable and data, which unpublished.json adds. The zero value allows anything. A JSON Schema
// library would need as much code around it: fragments are cut, unknown fields are violations,
// and values of a query are text.
type fragment struct {
	Type       string              `json:"type,omitempty"`
	Format     string              `json:"format,omitempty"` // date and date-time are checked
	Enum       []any               `json:"enum,omitempty"`   // strings, or null
	Nullable   bool                `json:"nullable,omitempty"`
	Required   []string            `json:"required,omitempty"`
	Properties map[string]fragment `json:"properties,omitempty"` // nil: any fields
	Items      *fragment           `json:"items,omitempty"`
	Data       map[string]fragment `json:"data,omitempty"` // of the field "data", by the object's item_type
}

// check returns what is wrong with a JSON value; numbers are json.Number.
func (f fragment) check(at string, v any) []Violation {
	if v == nil && (f.Nullable || f.Type == "" || slices.Contains(f.Enum, nil)) {
		return nil
	}
	if f.Type != "" && !f.typed(v) {
		return []Violation{{at, fmt.Sprintf("is %s and must be of type %s", shown(v), f.Type)}}
	}
	switch v := v.(type) {
	case string:
		return f.checkString(at, v)
	case []any:
		return f.checkItems(at, v)
	case map[string]any:
		return f.checkFields(at, v)
	}
	return nil
}

func (f fragment) typed(v any) bool {
	switch v := v.(type) {
	case string:
		return f.Type == "string"
	case bool:
		return f.Type == "boolean"
	case json.Number:
		_, err := strconv.ParseInt(v.String(), 10, 64)
		return f.Type == "number" || f.Type == "integer" && err == nil
	case []any:
		return f.Type == "array"
	case map[string]any:
		return f.Type == "object"
	}
	return false
}

// layouts are the formats that a value must have. A query's dates may also be ranges; see text.
var layouts = map[string]string{"date": time.DateOnly, "date-time": time.RFC3339}

func (f fragment) checkString(at, v string) []Violation {
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, any(v)) {
		return []Violation{{at, fmt.Sprintf("is %q and must be one of %s", v, shown(f.Enum))}}
	}
	if layout := layouts[f.Format]; layout != "" {
		if _, err := time.Parse(layout, v); err != nil {
			return []Violation{{at, fmt.Sprintf("is %q and must be a %s", v, f.Format)}}
		}
	}
	return nil
}

func (f fragment) checkItems(at string, list []any) []Violation {
	if f.Items == nil {
		return nil
	}
	var bad []Violation
	for i, v := range list {
		bad = append(bad, f.Items.check(fmt.Sprintf("%s[%d]", at, i), v)...)
		if len(bad) >= 20 {
			break // a call may have 1,000 items, each with the same mistake
		}
	}
	return bad
}

func (f fragment) checkFields(at string, fields map[string]any) []Violation {
	at += " "
	if strings.Count(at, " ") > 1 { // "body updates[0] " → "body updates[0]."
		at = strings.TrimSpace(at) + "."
	}
	var bad []Violation
	for _, name := range f.Required {
		if _, ok := fields[name]; !ok {
			bad = append(bad, Violation{at + name, "is missing"})
		}
	}
	if f.Properties == nil {
		return bad
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, ok := f.Properties[name]
		if !ok {
			bad = append(bad, Violation{at + name, "is not a field of this operation"})
			continue
		}
		bad = append(bad, field.check(at+name, fields[name])...)
	}
	itemType, _ := fields["item_type"].(string)
	if data, ok := f.Data[itemType]; ok && fields["data"] != nil {
		bad = append(bad, data.check(at+"data", fields["data"])...)
	}
	return bad
}

// text checks a value of a query.
func (f fragment) text(at, v string) []Violation {
	var err error
	switch f.Type {
	case "integer":
		_, err = strconv.ParseInt(v, 10, 64)
	case "boolean":
		_, err = strconv.ParseBool(v)
	case "string":
		f.Format = "" // of a range, its ends
		return f.checkString(at, v)
	}
	if err != nil {
		return []Violation{{at, fmt.Sprintf("is %q and must be of type %s", v, f.Type)}}
	}
	return nil
}

// shown is a value as JSON, shortened.
func shown(v any) string {
	raw, _ := json.Marshal(v) // it came from JSON
	if len(raw) > 200 {
		raw = append(raw[:200:200], "…"...)
	}
	return string(raw)
}
