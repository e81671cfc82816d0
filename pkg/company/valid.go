package company

import (
	"slices"

	"github.com/tieback/tieback/pkg/secretfile"
)

// LoadValid is Load for callers that serve the valid companies although others have mistakes. mistakes has an
// error for each of the others. LoadValid returns an error if the file can't be read, is malformed, or has no
// valid company.
func LoadValid(path string) (set Set, mistakes []error, err error) {
	set, err = Load(path)
	if err == nil {
		return set, nil, nil
	}
	raw, readErr := secretfile.Read(path)
	if readErr != nil {
		return nil, nil, err
	}
	p := parse(raw, secretfile.Read)
	if p.err != nil || len(p.set) == 0 {
		return nil, nil, err
	}
	return p.set, p.errs, nil
}

// Files returns the paths of the companies file at path and of the secret files that it names, each once, as
// far as it can be parsed.
func Files(path string) []string {
	paths := []string{path}
	read := func(path string) ([]byte, error) {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		return secretfile.Read(path)
	}
	if raw, err := secretfile.Read(path); err == nil {
		parse(raw, read)
	}
	return paths
}
