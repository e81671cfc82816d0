package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// actor plays the users of one company, in Procore and in the ERP.
type actor struct {
	s       *Scenario
	company int64
	erp     ERP

	mu     sync.Mutex
	rng    *rand.Rand
	serial int

	category ref // a standard category
	standard ref // a standard cost code
	vendors  []ref
	jobs     []*job
}

// ref is a synced record.
type ref struct {
	id     int64  // in Procore
	origin string // id in the ERP
}

// job is a job with the records that the scenario has created for it.
type job struct {
	ref
	code       ref // the cost code with the category assigned
	sub        ref
	subCode    ref
	prime      ref
	primeLine  ref
	commitment contract
}

// contract is a commitment with one line.
type contract struct {
	ref
	line ref
}

// origins replaces origin ids of a published sample; see sandbox.Sample.
type origins = map[string]string

// step is an event.
type step struct {
	event   string
	origins origins
	adjust  func(payload map[string]any)
	want    Expectation    // "": Succeeds
	message string         // with Fails: a part of the message to the user
	payload map[string]any // nil: a sample
}

// errStopped is returned when ctx ends during a scenario.
var errStopped = errors.New("the scenario was stopped")

// run presses a button and waits until the request is closed. ok reports that it succeeded. An error means that the
// company cannot continue.
func (a *actor) run(ctx context.Context, s step) (payload map[string]any, ok bool, err error) {
	if s.want == "" {
		s.want = Succeeds
	}
	payload = s.payload
	if payload == nil {
		if payload, err = a.s.sb.Sample(a.company, s.event, s.origins); err != nil {
			return nil, false, err
		}
	}
	if s.adjust != nil {
		s.adjust(payload)
	}
	id, err := a.s.press(a.company, s.event, payload, s.want, s.message)
	if err != nil {
		return nil, false, err
	}
	limited, cancel := context.WithTimeout(ctx, a.s.cfg.Deadline)
	defer cancel()
	req, err := a.s.sb.Wait(limited, id)
	if ctx.Err() != nil {
		return nil, false, fmt.Errorf("%w: %w", errStopped, ctx.Err())
	}
	return payload, err == nil && req.Outcome() != sandbox.Failed && len(req.TooEarly) == 0, nil
}

// runAll runs functions concurrently and joins their errors.
func runAll(ctx context.Context, steps ...func(context.Context) error) error {
	errs := make(chan error, len(steps))
	for _, s := range steps {
		go func() { errs <- s(ctx) }()
	}
	var all error
	for range steps {
		all = errors.Join(all, <-errs)
	}
	return all
}

// add books a record in the ERP.
func (a *actor) add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
	out, err := a.erp.Add(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("company %d: adding a %v in the ERP: %w", a.company, r.GetEntity(), err)
	}
	return out, nil
}

func (a *actor) delete(ctx context.Context, entity tiebackv1.Entity, origin string) error {
	if err := a.erp.Delete(ctx, entity, origin); err != nil {
		return fmt.Errorf("company %d: deleting %v %q in the ERP: %w", a.company, entity, origin, err)
	}
	return nil
}

// name returns a name or code that is unique in the company.
func (a *actor) name(prefix string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	return fmt.Sprintf("%s-%d%03d", prefix, a.company%1000, a.serial)
}

// amount returns a random amount from 1,000.00 to 9,999.99.
func (a *actor) amount() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprintf("%d.%02d", 1000+a.rng.IntN(9000), a.rng.IntN(100))
}

// record returns the current state of the record whose id is at a path of a payload.
func (a *actor) record(payload map[string]any, itemType, path string) ref {
	r, _ := a.s.sb.Record(a.company, itemType, sandbox.GetID(payload, path))
	return ref{id: r.ID, origin: r.OriginID}
}

// synced returns the record that a direct sync wrote.
func (a *actor) synced(itemType, origin string) ref {
	r, _ := a.s.sb.Synced(a.company, itemType, origin)
	return ref{id: r.ID, origin: r.OriginID}
}

// importRecord imports a staged record. If there is none, the report says so.
func (a *actor) importRecord(itemType, origin string) (ref, bool) {
	r, err := a.s.sb.Import(a.company, itemType, origin)
	if err != nil {
		a.s.skip("company %d: import: %v", a.company, err)
		return ref{}, false
	}
	return ref{id: r.ID, origin: r.OriginID}, true
}

// set returns a function that sets values of a payload: path, value, path, value …
func set(pairs ...any) func(map[string]any) {
	return func(payload map[string]any) {
		for i := 0; i < len(pairs); i += 2 {
			sandbox.Set(payload, pairs[i].(string), pairs[i+1])
		}
	}
}
