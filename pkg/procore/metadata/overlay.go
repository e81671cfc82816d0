package metadata

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

// load reads an overlay file, YAML or JSON: the fields of settings, or the whole {"settings": {…}}.
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
			return nil, about(path, errors.New("settings: must be an object, and nothing may stand beside it"))
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

// lay puts over on base: objects by their fields, everything else whole; null takes a field away.
func lay(base, over object) {
	for name, v := range over {
		above, isObject := v.(object)
		below, both := base[name].(object)
		switch {
		case v == nil:
			delete(base, name)
		case isObject && both:
			lay(below, above)
		default:
			base[name] = v
		}
	}
}
