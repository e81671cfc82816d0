package connector

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// Shared has the ERPs of a process, one per company. The services of the process share them, so that they
// keep to the concurrency limit of an ERP together.
type Shared struct {
	drivers  Drivers
	mu       sync.Mutex
	erps     map[int64]*shared
	unopened map[int64]trouble.Trouble // companies whose last Open failed
	work     sync.WaitGroup            // started by Renew
}

// shared is one ERP. Its changing fields are guarded by the mutex of Shared.
type shared struct {
	erp      *ERP
	driver   *renewable
	opener   Opener
	settings func() map[string]string // the current settings
	users    int

	opened   map[string]string // the settings with which driver was opened
	renewing bool              // another driver is being opened
	failed   string            // the error of the last attempt
}

// NewShared returns a Shared without ERPs. Drivers may be added to d until Open is called.
func NewShared(d Drivers) *Shared {
	return &Shared{drivers: d, erps: map[int64]*shared{}, unopened: map[int64]trouble.Trouble{}}
}

// Open returns the ERP of a company. The first call opens it, with the driver's settings and c; the last
// Close closes it. If it can't be opened, the error has the reason fault.Damaged if the driver reports it, and
// fault.Unopened otherwise. Renew calls settings again, which must return a map that does not change.
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

// Troubles returns the troubles of the open ERPs, and of the companies whose ERP could not be opened. silent
// is how long a call may be in flight without an answer.
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

// Certificates returns, by company, the certificates that connectors offered to the open drivers. A driver whose protocol has
// certificates has a method Certificates, which returns the chain of its last connection.
func (s *Shared) Certificates() map[int64][]*x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[int64][]*x509.Certificate{}
	for company, open := range s.erps {
		if d, has := open.driver.currentDriver().(interface{ Certificates() []*x509.Certificate }); has {
			all[company] = d.Certificates()
		}
	}
	return all
}

// Close releases an ERP that Open returned.
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
