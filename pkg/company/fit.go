package company

import "os"

// LoadFit is Load for whoever serves the companies that are right while others have a mistake: one
// company's must not stop all. mistakes has an error for each of the others. It fails where the file
// can't be read, makes no sense, or has no company without a mistake.
func LoadFit(path string) (set Set, mistakes []error, err error) {
	set, err = Load(path)
	if err == nil {
		return set, nil, nil
	}
	raw, unread := os.ReadFile(path)
	if unread != nil {
		return nil, nil, err
	}
	p := parse(raw, os.ReadFile)
	if p.unread != nil || len(p.set) == 0 {
		return nil, nil, err
	}
	return p.set, p.errs, nil
}
