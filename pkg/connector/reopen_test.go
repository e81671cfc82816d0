package connector

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// safe is an ERP that records its drivers. Each driver knows the password with which it was opened.
type safe struct {
	mu      sync.Mutex
	drivers []*guarded
	refuse  error // the error of the next Opens
}

type guarded struct {
	books
	password string
	under    chan struct{} // nil, or: a State waits for it
	calls    atomic.Int32
	closed   atomic.Bool
	late     atomic.Bool // a call began or ended after Close
}

func (s *safe) open(_ context.Context, _ int64, settings map[string]string) (Driver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return nil, s.refuse
	}
	g := &guarded{password: settings["password"]}
	s.drivers = append(s.drivers, g)
	return g, nil
}

func (g *guarded) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{Name: "safe", Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true}}}, nil
}

func (g *guarded) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	g.calls.Add(1)
	if g.closed.Load() {
		g.late.Store(true)
	}
	if g.under != nil {
		<-g.under
	}
	if g.closed.Load() {
		g.late.Store(true)
	}
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

func (g *guarded) Close() error {
	if g.closed.Swap(true) {
		return errors.New("closed twice")
	}
	return nil
}

// shop has an open ERP of one company, with settings that can be rotated.
type shop struct {
	*testing.T
	safe
	shared   *Shared
	erp      *ERP
	settings atomic.Pointer[map[string]string]
	log      *observer.ObservedLogs
}

func newShop(t *testing.T) *shop {
	s := &shop{T: t}
	s.rotate("old")
	core, log := observer.New(zap.InfoLevel)
	s.log, s.shared = log, NewShared(Drivers{"safe": s.open})
	var err error
	s.erp, err = s.shared.Open(t.Context(), "safe", func() map[string]string { return *s.settings.Load() }, Config{Company: 7, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) rotate(password string) { s.settings.Store(&map[string]string{"password": password}) }

func (s *shop) call() {
	if _, err := s.erp.State(context.Background(), vendor, "V-1"); err != nil {
		s.Errorf("a call failed: %v", err)
	}
}

func TestRotatedPasswordAppliesToTheNextCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.call()
		old := s.drivers[0]
		old.under = make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(s.call)
		synctest.Wait()

		s.shared.Renew(t.Context())
		synctest.Wait()
		if len(s.drivers) != 1 {
			t.Fatal("opened again although nothing has changed")
		}
		s.rotate("new")
		s.shared.Renew(t.Context())
		synctest.Wait()
		s.call()
		if len(s.drivers) != 2 || s.drivers[1].password != "new" || s.drivers[1].calls.Load() != 1 {
			t.Fatal("the next call does not use the new password")
		}
		if old.closed.Load() {
			t.Fatal("the old driver was closed under a call")
		}
		close(old.under)
		waiting.Wait()
		s.shared.Wait()
		if !old.closed.Load() || old.late.Load() {
			t.Errorf("the old driver: closed %v, used afterwards %v", old.closed.Load(), old.late.Load())
		}
		if err := s.shared.Close(s.erp); err != nil || !s.drivers[1].closed.Load() {
			t.Errorf("the last Close: %v", err)
		}
	})
}

// While one driver waits for its calls to complete, a second and a third rotation take effect.
func TestHangingCallDoesNotDelayFurtherRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		s.drivers[0].under = make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(s.call)
		synctest.Wait()
		for _, password := range []string{"second", "third"} {
			s.rotate(password)
			s.shared.Renew(t.Context())
			synctest.Wait()
		}
		s.call()
		if len(s.drivers) != 3 || s.drivers[2].calls.Load() != 1 || !s.drivers[1].closed.Load() {
			t.Error("the third password is not in use")
		}
		close(s.drivers[0].under)
		waiting.Wait()
		s.shared.Wait()
	})
}

func TestFailedReopeningKeepsTheOldDriverAndIsRetried(t *testing.T) {
	s := newShop(t)
	s.rotate("new")
	s.refuse = errors.New("connector.password: no")
	for range 3 {
		s.shared.Renew(t.Context())
		s.shared.Wait()
	}
	s.call()
	if s.drivers[0].closed.Load() || s.drivers[0].calls.Load() != 1 {
		t.Error("the old driver is not in use any more")
	}
	if lines := s.log.FilterLevelExact(zap.ErrorLevel).All(); len(lines) != 1 || !strings.Contains(lines[0].Message, "not opened") {
		t.Errorf("want one log line: %v", lines)
	}
	s.refuse = nil
	s.shared.Renew(t.Context())
	s.shared.Wait()
	s.call()
	if len(s.drivers) != 2 || s.drivers[1].calls.Load() != 1 {
		t.Error("not tried again")
	}
}

// A driver that is opened after the last user closed the ERP is closed as well.
func TestRotationDuringCloseLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		opening := make(chan struct{})
		open := s.safe.open
		s.shared.erps[7].opener = func(ctx context.Context, id int64, settings map[string]string) (Driver, error) {
			<-opening
			return open(ctx, id, settings)
		}
		s.rotate("new")
		s.shared.Renew(t.Context())
		synctest.Wait()
		s.shared.Renew(t.Context()) // it must not start a second one
		if err := s.shared.Close(s.erp); err != nil {
			t.Fatal(err)
		}
		close(opening)
		s.shared.Wait()
		if len(s.drivers) != 2 || !s.drivers[0].closed.Load() || !s.drivers[1].closed.Load() {
			t.Errorf("%d drivers were opened, and not all are closed", len(s.drivers))
		}
	})
}

// During rotations no call fails, and no call reaches a closed driver. Run with -race.
func TestCallersDoNotNoticeRotations(t *testing.T) {
	s := newShop(t)
	done := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					s.call()
				}
			}
		})
	}
	for n := range 200 {
		s.rotate(strings.Repeat("x", n+1))
		s.shared.Renew(t.Context())
		s.shared.Wait()
	}
	close(done)
	callers.Wait()
	if err := s.shared.Close(s.erp); err != nil {
		t.Error(err)
	}
	for i, d := range s.drivers {
		if !d.closed.Load() || d.late.Load() {
			t.Errorf("driver %d: closed %v, used afterwards %v", i, d.closed.Load(), d.late.Load())
		}
	}
	if len(s.drivers) != 201 {
		t.Errorf("%d drivers for 200 rotations", len(s.drivers))
	}
}
