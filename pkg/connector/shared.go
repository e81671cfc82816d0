package connector

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// Shared are the companies' ERPs of a process. Its services share them, so that an ERP is
// called no more often at once than it bears, however many services run here.
type Shared struct {
	drivers  Drivers
	mu       sync.Mutex
	erps     map[int64]*shared
	unopened map[int64]trouble.Trouble // the companies whose last Open failed
	work     sync.WaitGroup            // what Renew started
}

// shared is one ERP. The mutex of Shared guards what changes.
type shared struct {
	erp      *ERP
	driver   *renewable
	opener   Opener
	settings func() map[string]string // those of now
	users    int

	opened   map[string]string // the settings that driver was opened with
	renewing bool              // another driver is being opened
	failed   string            // why the last could not be
}

// NewShared makes a set without any; drivers may be added to until Open is called.
func NewShared(d Drivers) *Shared {
	return &Shared{drivers: d, erps: map[int64]*shared{}, unopened: map[int64]trouble.Trouble{}}
}

// Open gives the company's ERP. The error of one that can't be opened has the reason fault.Damaged where the driver says
// so, else fault.Unopened. The first to ask opens it with its driver's settings, the
// last to Close closes it. The other fields of c count for the first. Settings is called
// again by Renew, and must give a map that does not change.
func (s *Shared) Open(ctx context.Context, driver string, settings func() map[string]string, c Config) (*ERP, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.erps[c.Company]
	if open == nil {
		var err error
		if open, err = s.open(ctx, driver, settings, c); err != nil {
			reason := fault.Unopened
			if fault.ReasonOf(err) == fault.Damaged {
				reason = fault.Damaged
			}
			err = &fault.Error{Class: fault.Transient, Reason: reason, Since: time.Now(), Err: err}
			if _, before := s.unopened[c.Company]; !before {
				s.unopened[c.Company] = trouble.Of(c.Company, err, time.Now())
			}
			return nil, err
		}
		delete(s.unopened, c.Company)
		s.erps[c.Company] = open
	}
	open.users++
	return open.erp, nil
}

func (s *Shared) open(ctx context.Context, driver string, settings func() map[string]string, c Config) (*shared, error) {
	opener, ok := s.drivers[driver]
	if !ok {
		return nil, fmt.Errorf("connector.driver: this program has no driver %q", driver)
	}
	with := settings()
	d, err := opener(ctx, c.Company, with)
	if err != nil {
		return nil, fmt.Errorf("connector: %w", err)
	}
	r := newRenewable(d)
	return &shared{erp: New(r, c), driver: r, opener: opener, settings: settings, opened: with}, nil
}

// Troubles are those of the ERPs that are open, and of the companies whose ERP could not be opened. silent
// is how long a call may be under way.
func (s *Shared) Troubles(silent time.Duration) []trouble.Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []trouble.Trouble
	for _, t := range s.unopened {
		t.Last = now // it stays so until a restart
		all = append(all, t)
	}
	for _, open := range s.erps {
		if t, bad := open.erp.Trouble(now, silent); bad {
			all = append(all, t)
		}
	}
	return all
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
