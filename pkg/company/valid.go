package company

import (
	"slices"

	"github.com/tieback/tieback/pkg/secretfile"
)

// LoadValid is Load for whoever serves the companies that are right while others have a mistake: one
// company's must not stop all. mistakes has an error for each of the others. It fails where the file
// can't be read, makes no sense, or has no company without a mistake.
func LoadValid(path string) (set Set, mistakes []error, err error) {
	set, err = Load(path)
	if err == nil {
		return set, nil, nil
	}
	raw, unread := secretfile.Read(path)
	if unread != nil {
		return nil, nil, err
	}
	p := parse(raw, secretfile.Read)
	if p.unread != nil || len(p.set) == 0 {
		return nil, nil, err
	}
	return p.set, p.errs, nil
}

// Files returns the paths of the companies file at path and of the secret files that it names, each once, as far as it
// makes sense.
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
