package connector

import (
	"context"
	"fmt"
	"sync"
)

// Shared are the companies' ERPs of a process. Its services share them, so that an ERP is
// called no more often at once than it bears, however many services run here.
type Shared struct {
	drivers Drivers
	mu      sync.Mutex
	erps    map[int64]*shared
}

type shared struct {
	erp   *ERP
	users int
}

// NewShared makes a set without any; drivers may be added to until Open is called.
func NewShared(d Drivers) *Shared { return &Shared{drivers: d, erps: map[int64]*shared{}} }

// Open gives the company's ERP; the first to ask opens it with its driver's settings, the
// last to Close closes it. The other fields of c count for the first.
func (s *Shared) Open(ctx context.Context, driver string, settings map[string]string, c Config) (*ERP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.erps[c.Company]
	if open == nil {
		opener, ok := s.drivers[driver]
		if !ok {
			return nil, fmt.Errorf("connector.driver: this program has no driver %q", driver)
		}
		d, err := opener(ctx, c.Company, settings)
		if err != nil {
			return nil, fmt.Errorf("connector: %w", err)
		}
		open = &shared{erp: New(d, c)}
		s.erps[c.Company] = open
	}
	open.users++
	return open.erp, nil
}

// Close gives an ERP back.
func (s *Shared) Close(e *ERP) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.erps[e.Company]
	if open.users--; open.users > 0 {
		return nil
	}
	delete(s.erps, e.Company)
	return e.Close()
}
