package metadata

import (
	"encoding/json"
	"reflect"
)

// Same reports whether Procore's metadata equals the wanted one.
func Same(has, want map[string]any) bool {
	return reflect.DeepEqual(plain(has), plain(want))
}

// plain returns a document as decoded JSON, whatever its Go types.
func plain(doc map[string]any) (v any) {
	raw, err := json.Marshal(doc)
	if err == nil {
		_ = json.Unmarshal(raw, &v) // it was just marshaled
	}
	return v
}
