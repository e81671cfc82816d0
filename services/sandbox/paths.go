package sandbox

import "strings"

// A path names places in a payload, as the catalogue does: "request_data.items[].id"; "[]" is
// each item of an array.

// at collects what a payload has at a path.
func at(v any, path string) []any {
	head, rest, _ := strings.Cut(strings.TrimPrefix(path, "."), ".")
	name, each := strings.CutSuffix(head, "[]")
	o, isObject := v.(map[string]any)
	if !isObject {
		return nil
	}
	found, has := o[name]
	if !has {
		return nil
	}
	places := []any{found}
	if each {
		places, _ = found.([]any)
	}
	if rest == "" {
		return places
	}
	var out []any
	for _, p := range places {
		out = append(out, at(p, rest)...)
	}
	return out
}

// Get is the first value at a path of a payload, nil if there is none.
func Get(payload map[string]any, path string) any {
	if found := at(payload, path); len(found) > 0 {
		return found[0]
	}
	return nil
}

// GetID is the first id at a path of a payload, 0 if there is none.
func GetID(payload map[string]any, path string) int64 {
	id, _ := asID(Get(payload, path))
	return id
}

// Set writes a value at a path, at every item of an array; objects on the way must exist.
func Set(payload map[string]any, path string, value any) {
	parents, field := []any{payload}, strings.TrimPrefix(path, ".")
	if i := strings.LastIndex(field, "."); i >= 0 {
		parents, field = at(payload, field[:i]), field[i+1:]
	}
	for _, p := range parents {
		if o, isObject := p.(map[string]any); isObject {
			o[field] = value
		}
	}
}

// clone copies a payload, so that a press never writes into the caller's.
func clone(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			out[i] = clone(one)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, one := range v {
			out[k] = clone(one)
		}
		return out
	}
	return v
}
