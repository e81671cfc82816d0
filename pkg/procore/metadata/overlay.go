package metadata

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

// load reads an overlay file, YAML or JSON: the fields of settings, or the complete {"settings": {…}}.
func load(path string) (object, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := secretfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("metadata_file: %w", err)
	}
	var over object
	if err := yaml.Unmarshal(raw, &over); err != nil {
		return nil, about(path, err)
	}
	if whole, is := over["settings"]; is {
		settings, isObject := whole.(object)
		if !isObject || len(over) > 1 {
			return nil, about(path, errors.New("settings: must be an object, and the only field"))
		}
		over = settings
	}
	return over, nil
}

func about(path string, err error) error {
	if path == "" {
		return fmt.Errorf("ERP metadata: %w", err)
	}
	return fmt.Errorf("metadata_file %s: %w", path, err)
}

// overlay merges over into base: objects by their fields, other values as a whole. null removes a field.
func overlay(base, over object) {
	for name, v := range over {
		above, isObject := v.(object)
		below, both := base[name].(object)
		switch {
		case v == nil:
			delete(base, name)
		case isObject && both:
			overlay(below, above)
		default:
			base[name] = v
		}
	}
}
