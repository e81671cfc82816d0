package conformance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	// Record is the canonical record; see connector.proto.
	Record = tiebackv1.Record
	// Entity is the kind of a record.
	Entity = tiebackv1.Entity

	can = tiebackv1.EntityCapability
)

// suite is one run against a target. Cases run one after the other. What their goroutines share is safe for
// concurrent use.
type suite struct {
	target  Target
	main    *client // the driver for all calls of a single process
	caps    *tiebackv1.CapabilitiesResponse
	cans    map[Entity]*can
	cursors map[Entity]string // the end of each entity's listing so far
	masters map[Entity]*tiebackv1.Booking
	base    int64 // the first Procore id of this run
	began   time.Time
	made    atomic.Int64
	stuck   string // the case that did not return
}

func open(ctx context.Context, t Target) (*suite, error) {
	t, err := t.checked()
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Unique))
	s := &suite{target: t, cursors: map[Entity]string{}, masters: map[Entity]*tiebackv1.Booking{}, base: int64(h.Sum64()%(1<<31)) << 20, began: time.Now()}
	if err := s.reopen(ctx, 10*time.Second); err != nil {
		return nil, fmt.Errorf("conformance: the connector does not answer: %w", err)
	}
	return s, nil
}

// reopen opens the main driver and waits until it answers. It returns a permanent error at once, such as that
// of a company that the connector does not serve.
func (s *suite) reopen(ctx context.Context, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var last error
	for {
		err := s.answers(ctx)
		if err == nil || fault.ClassOf(err) == fault.Permanent {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return last
		}
	}
}

func (s *suite) answers(ctx context.Context) error {
	d, err := s.target.Open(ctx)
	if err != nil {
		return err
	}
	caps, err := d.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: s.target.Company})
	if err != nil {
		return errors.Join(err, d.Close())
	}
	s.close()
	s.caps, s.cans = caps, map[Entity]*can{}
	for _, c := range caps.GetEntities() {
		s.cans[c.GetEntity()] = c
	}
	s.main = newClient(d, caps.GetMaxConcurrent())
	return nil
}

// close closes the main driver, unless a case that did not return may still use it.
func (s *suite) close() {
	if s.stuck != "" {
		return
	}
	if s.main != nil {
		_ = s.main.Close() // the connector may have just been killed
	}
	s.main = nil
}

// clients opens n more drivers. closeAll closes them.
func (s *suite) clients(ctx context.Context, n int) (all []*client, closeAll func()) {
	closeAll = func() {
		for _, c := range all {
			_ = c.Close()
		}
	}
	for range n {
		d, err := s.target.Open(ctx)
		if err != nil {
			closeAll()
			panic(failure{fmt.Errorf("another driver can't be opened: %w", err)})
		}
		all = append(all, newClient(d, s.caps.GetMaxConcurrent()))
	}
	return all, closeAll
}

// simplest lists the entities, from those that need the least master data to those that need the most.
var simplest = []Entity{
	vendor, job, standardCostCode, standardCategory, subJob, costCode, insurance, commitment, directCost,
	primeContract, budget, changeOrder, requisition, primeChangeOrder, application, payment, assignment, jobCost,
}

// named are the entities whose records have a name. A record of the others combines a cost code and a category.
var named = simplest[:len(simplest)-2]

func puts(c *can) bool            { return c.Put }
func lists(c *can) bool           { return c.List }
func putsAndLists(c *can) bool    { return c.Put && c.List }
func updates(c *can) bool         { return c.Put && c.Update }
func updatesAndLists(c *can) bool { return updates(c) && c.List }
func removes(c *can) bool         { return c.Put && c.Remove }

// has reports whether the connector declares an entity with the wanted capabilities.
func (s *suite) has(e Entity, want func(*can) bool) bool {
	c := s.cans[e]
	return c != nil && want(c)
}

// with returns the entities with the wanted capabilities.
func (s *suite) with(want func(*can) bool, of []Entity) []Entity {
	return slices.DeleteFunc(slices.Clone(of), func(e Entity) bool { return !s.has(e, want) })
}

// pick returns the simplest entity that has a name and the wanted capabilities. Of several wants, the first one that
// an entity meets counts; what describes the last one.
func (s *suite) pick(what string, wants ...func(*can) bool) Entity {
	return s.choose("entity", what, named, wants)
}

// pickPut returns the simplest entity with put, preferably one with list too.
func (s *suite) pickPut() Entity { return s.pick("put", putsAndLists, puts) }

// among is like pick, for some entities only.
func (s *suite) among(what string, some []Entity, wants ...func(*can) bool) Entity {
	return s.choose(oneOf(some), what, some, wants)
}

func (s *suite) choose(kind, what string, of []Entity, wants []func(*can) bool) Entity {
	for _, want := range wants {
		if found := s.with(want, of); len(found) > 0 {
			return found[0]
		}
	}
	panic(failure{leaveOut("the connector declares no %s with %s", kind, what)})
}

func oneOf(some []Entity) string {
	var nouns []string
	for _, e := range some {
		nouns = append(nouns, connector.Noun(e))
	}
	return strings.Join(nouns, " or ")
}

// aNoun returns an entity with its article: "an insurance", "a vendor", "entity 99".
func aNoun(e Entity) string {
	n := connector.Noun(e)
	switch {
	case tiebackv1.Entity_name[int32(e)] == "":
		return "entity " + n
	case strings.ContainsRune("aeiou", rune(n[0])):
		return "an " + n
	}
	return "a " + n
}

// id returns a Procore id that no other record of this or another run has.
func (s *suite) id() int64 { return s.base + s.made.Add(1) }

// request returns an ERP request that was created after all others of this run. Its id is lower than theirs,
// so that a comparison of ids gives the wrong order.
func (s *suite) request() order.Key {
	n := s.made.Add(1)
	return order.New(s.began.Add(time.Duration(n)*time.Microsecond), math.MaxInt64-2*(s.base+n))
}

// twin returns a newer request of the same microsecond: only its id is higher.
func twin(older order.Key) order.Key {
	at, _, _ := strings.Cut(string(older), "-")
	return order.Key(fmt.Sprintf("%s-%019d", at, older.Request()+1))
}

// pause waits. It returns false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
