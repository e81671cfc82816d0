package conformance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	// Record is the canonical record, Entity its kind; see connector.proto.
	Record = tiebackv1.Record
	// Entity is the kind of a record.
	Entity = tiebackv1.Entity

	can = tiebackv1.EntityCapability
)

// suite is one run against a target. Cases run one after the other; what their own
// goroutines share is safe for that.
type suite struct {
	target  Target
	main    *client // the driver of whatever isn't about several of them
	caps    *tiebackv1.CapabilitiesResponse
	cans    map[Entity]*can
	cursors map[Entity]string // where the listing of an entity has come to
	masters map[Entity]*tiebackv1.Booking
	base    int64 // of the Procore ids of this run
	began   time.Time
	made    atomic.Int64
	stuck   string // the case that never came back
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

// reopen opens the main driver and waits until it answers. What it refuses for good, such as
// a company that it does not serve, is not waited for.
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
	s.main = limit(d, caps.GetMaxConcurrent())
	return nil
}

// close closes the main driver. A case that was left behind may still use it.
func (s *suite) close() {
	if s.stuck != "" {
		return
	}
	if s.main != nil {
		_ = s.main.Close() // of a connector that was just killed, for one
	}
	s.main = nil
}

// client opens one more driver; the case closes it.
func (s *suite) client(ctx context.Context) (*client, error) {
	d, err := s.target.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("one more driver can't be opened: %w", err)
	}
	return limit(d, s.caps.GetMaxConcurrent()), nil
}

// clients opens n drivers; closeAll closes them.
func (s *suite) clients(ctx context.Context, n int) (all []*client, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range all {
			_ = c.Close()
		}
	}
	for range n {
		c, err := s.client(ctx)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, c)
	}
	return all, closeAll, nil
}

// plainest are the entities, from those that need least to those that need most.
var plainest = []Entity{
	vendor, job, standardCostCode, standardCategory, subJob, costCode, insurance, commitment, directCost,
	primeContract, budget, changeOrder, requisition, primeChangeOrder, application, payment, assignment, jobCost,
}

// entities are those that the connector declares so, the plainest first.
func (s *suite) entities(want func(*can) bool) []Entity {
	var out []Entity
	for _, e := range plainest {
		if c := s.cans[e]; c != nil && want(c) {
			out = append(out, e)
		}
	}
	return out
}

// pick is the plainest entity that is declared so, of those that have a name of their own.
func (s *suite) pick(what string, want func(*can) bool) (Entity, error) {
	for _, e := range s.entities(want) {
		if !joins(e) {
			return e, nil
		}
	}
	return 0, leave("the connector declares no entity with %s", what)
}

// joins says whether an entity is a cost code and a category together, named by nothing else.
func joins(e Entity) bool { return e == assignment || e == jobCost }

// booked is the plainest entity that is booked, one that is listed too if there is one.
func (s *suite) booked() (Entity, error) {
	if e, err := s.pick("put and list", func(c *can) bool { return c.Put && c.List }); err == nil {
		return e, nil
	}
	return s.pick("put", func(c *can) bool { return c.Put })
}

// among is the first of some entities that is declared so.
func (s *suite) among(what string, want func(*can) bool, some ...Entity) (Entity, error) {
	for _, e := range some {
		if c := s.cans[e]; c != nil && want(c) {
			return e, nil
		}
	}
	return 0, leave("the connector declares no %s with %s", oneOf(some), what)
}

func oneOf(some []Entity) string {
	var nouns []string
	for _, e := range some {
		nouns = append(nouns, connector.Noun(e))
	}
	return strings.Join(nouns, " or ")
}

// aNoun is an entity with its article: "an insurance", "a vendor", "entity 99".
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

// id is a Procore id that no other record of this run has, and no other run.
func (s *suite) id() int64 { return s.base + s.made.Add(1) }

// request is an ERP request that was created after all others of this run. Its id is lower than
// theirs: what goes by ids goes wrong.
func (s *suite) request() order.Key {
	n := s.made.Add(1)
	return order.New(s.began.Add(time.Duration(n)*time.Microsecond), math.MaxInt64-2*(s.base+n))
}

// twin is a newer request of the same microsecond: only the id decides.
func twin(older order.Key) order.Key {
	at, _, _ := strings.Cut(string(older), "-")
	return order.Key(fmt.Sprintf("%s-%019d", at, older.Request()+1))
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
