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

// desk is one company's accountants and what they know so far.
type desk struct {
	p       *Play
	company int64
	erp     ERP

	mu     sync.Mutex
	rng    *rand.Rand
	serial int

	category ref // a standard category, synced
	standard ref // a standard cost code, synced
	vendors  []ref
	jobs     []*job
}

// ref is a record that both sides have.
type ref struct {
	id     int64
	origin string
}

// job is a job with its cost code, and what hangs on it as the play goes on.
type job struct {
	ref
	code       ref // with the category assigned
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

// origins replaces the published origin ids of a sample.
type origins = map[string]string

// step presses one event, waits until it is closed, and says whether it went as a success does.
type step struct {
	event   string
	origins origins
	adjust  func(payload map[string]any)
	want    Expectation // "": Succeeds
	says    string
	payload map[string]any // instead of a sample
}

// errEnd ends a company's play: ctx is over.
var errEnd = errors.New("the play was ended")

// do plays one step. ok is false if it was lost, failed or was meant to; err only ends the play.
func (d *desk) do(ctx context.Context, s step) (payload map[string]any, ok bool, err error) {
	if s.want == "" {
		s.want = Succeeds
	}
	payload = s.payload
	if payload == nil {
		if payload, err = d.p.sb.Sample(d.company, s.event, s.origins); err != nil {
			return nil, false, err
		}
	}
	if s.adjust != nil {
		s.adjust(payload)
	}
	id, err := d.p.press(d.company, s.event, payload, s.want, s.says)
	if err != nil {
		return nil, false, err
	}
	limited, cancel := context.WithTimeout(ctx, d.p.cfg.Deadline)
	defer cancel()
	req, err := d.p.sb.Wait(limited, id)
	if ctx.Err() != nil {
		return nil, false, fmt.Errorf("%w: %w", errEnd, ctx.Err())
	}
	return payload, err == nil && req.Outcome() != sandbox.Failed && len(req.TooEarly) == 0, nil
}

// all plays steps at once.
func (d *desk) all(ctx context.Context, steps ...func(context.Context) error) error {
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

// add is a colleague booking a record in the ERP.
func (d *desk) add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
	out, err := d.erp.Add(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("company %d: adding a %v in the ERP: %w", d.company, r.GetEntity(), err)
	}
	return out, nil
}

func (d *desk) delete(ctx context.Context, entity tiebackv1.Entity, origin string) error {
	if err := d.erp.Delete(ctx, entity, origin); err != nil {
		return fmt.Errorf("company %d: deleting %v %q in the ERP: %w", d.company, entity, origin, err)
	}
	return nil
}

// name is a name or code that nothing else in the company has.
func (d *desk) name(prefix string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	return fmt.Sprintf("%s-%d%03d", prefix, d.company%1000, d.serial)
}

// amount is some money: 1,000.00 to 9,999.99.
func (d *desk) amount() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("%d.%02d", 1000+d.rng.IntN(9000), d.rng.IntN(100))
}

// at reads the record whose id stands at a path of a pressed payload, as it is now.
func (d *desk) at(payload map[string]any, itemType, path string) ref {
	r, _ := d.p.sb.Record(d.company, itemType, sandbox.GetID(payload, path))
	return ref{id: r.ID, origin: r.OriginID}
}

// synced finds what a direct sync wrote.
func (d *desk) synced(itemType, origin string) ref {
	r, _ := d.p.sb.Synced(d.company, itemType, origin)
	return ref{id: r.ID, origin: r.OriginID}
}

// importing is a user's Import of one staged record; what isn't there is skipped.
func (d *desk) importing(itemType, origin string) (ref, bool) {
	r, err := d.p.sb.Import(d.company, itemType, origin)
	if err != nil {
		d.p.skip("company %d: import: %v", d.company, err)
		return ref{}, false
	}
	return ref{id: r.ID, origin: r.OriginID}, true
}

func set(pairs ...any) func(map[string]any) {
	return func(payload map[string]any) {
		for i := 0; i < len(pairs); i += 2 {
			sandbox.Set(payload, pairs[i].(string), pairs[i+1])
		}
	}
}
