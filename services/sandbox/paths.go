package sandbox

import "strings"

// at returns the values at a path of a payload. A path is "request_data.items[].id", as in the catalogue; "[]" is each
// item of an array.
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
	values := []any{found}
	if each {
		values, _ = found.([]any)
	}
	if rest == "" {
		return values
	}
	var out []any
	for _, p := range values {
		out = append(out, at(p, rest)...)
	}
	return out
}

// Get returns the first value at a path of a payload, or nil. A path is "request_data.items[].id"; "[]" is each item
// of an array.
func Get(payload map[string]any, path string) any {
	if found := at(payload, path); len(found) > 0 {
		return found[0]
	}
	return nil
}

// GetID returns the first id at a path of a payload, or 0.
func GetID(payload map[string]any, path string) int64 {
	id, _ := parseID(Get(payload, path))
	return id
}

// Set sets the values at a path of a payload. The objects on the path must exist.
func Set(payload map[string]any, path string, value any) {
	holders, field := parents(payload, path)
	for _, h := range holders {
		if o, isObject := h.(map[string]any); isObject {
			o[field] = value
		}
	}
}

// parents returns the values that have the last field of a path, and the field.
func parents(payload map[string]any, path string) (holders []any, field string) {
	field = strings.TrimPrefix(path, ".")
	if i := strings.LastIndex(field, "."); i >= 0 {
		return at(payload, field[:i]), field[i+1:]
	}
	return []any{payload}, field
}

// clone returns a deep copy of a payload.
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
