package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/delivery"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Result is the result of a sweep.
type Result struct {
	Company int64     `json:"company_id"`
	Found   []int64   `json:"found"`                  // ERP requests whose deliveries the sweep published
	Closed  []int64   `json:"closed_request_details"` // request details for which the sweep published an outcome
	Skipped []Skipped `json:"skipped"`                // ERP requests in Procore's lists that are not processed
	Failing int       `json:"failing_deliveries"`     // deliveries that Procore is retrying
	Calls   int       `json:"procore_calls"`
	Notes   []string  `json:"notes"` // what an operator should check
}

// Skipped is an ERP request that is not processed, although its status in Procore is neither success nor failed.
type Skipped struct {
	Request int64  `json:"erp_request_id"`              // 0: Procore's list does not have the id
	Detail  int64  `json:"request_detail_id,omitempty"` // 0: it is from the log of deliveries
	Why     string `json:"why"`
}

// checkpoint is where a company's next sweep continues, in the key cursor.<company>.swept of the state bucket. Of concurrent
// sweeps the last one overwrites the others' checkpoints. Nothing is lost, because each has read the lists up to its own marks.
type checkpoint struct {
	At         time.Time                      `json:"at"`         // end of the last complete sweep
	Deliveries map[string]erplog.DeliveryMark `json:"deliveries"` // the key is "<hook>" for discarded deliveries, "<hook>/failing" for failing ones
	Details    erplog.DetailMark              `json:"details"`
	Watched    []watchedDetail                `json:"watched,omitempty"`
	Failing    time.Time                      `json:"failing,omitzero"` // since when sweeps find failing deliveries; zero: the last sweep found none
}

// watchedDetail is a request detail that was open when a sweep read its page. Later sweeps do not read that page again; they
// learn from the streams when the detail was closed.
type watchedDetail struct {
	Detail  int64     `json:"detail"`
	Request int64     `json:"request"`
	Since   time.Time `json:"since"`
}

const (
	// maxWatched is the largest number of watched details. If there are more, the next sweep reads the same pages again.
	maxWatched = 2000
	// fullEvery is the longest time between complete reads of the lists.
	fullEvery = 24 * time.Hour
	// unorderedEvery is the time between reads of a list that has no reliable order and more than fewPages pages.
	unorderedEvery = time.Hour
	fewPages       = 3
)

func label(company int64) string { return strconv.FormatInt(company, 10) }

func (s *Service) load(ctx context.Context, company int64) (checkpoint, error) {
	m := checkpoint{Deliveries: map[string]erplog.DeliveryMark{}}
	raw, err := state.Of(s.Bus).SweepCheckpoint(ctx, company)
	if err != nil || raw == "" {
		return m, err
	}
	if json.Unmarshal([]byte(raw), &m) != nil || m.Deliveries == nil { // of another version: start from the beginning
		return checkpoint{Deliveries: map[string]erplog.DeliveryMark{}}, nil
	}
	return m, nil
}

func (s *Service) save(ctx context.Context, company int64, m checkpoint) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return state.Of(s.Bus).SaveSweepCheckpoint(ctx, company, string(raw))
}

// companySweep is one sweep of a company.
type companySweep struct {
	*Service
	reader     *erplog.Reader
	id         int64
	checkpoint checkpoint
	calledOff  map[int64]bool // by request with details in this sweep: true if all were called off or have an unknown status
	retention  time.Duration  // of deliveries in the stream; 0: no limit
	mu         sync.Mutex
	Result
}

// Sweep sweeps a company once. If a list can't be read, it reads the other lists nevertheless, publishes what it finds, and
// returns the error with the result. Sweep is idempotent and may run concurrently.
func (s *Service) Sweep(ctx context.Context, company int64) (Result, error) {
	r := &companySweep{Service: s, id: company, calledOff: map[int64]bool{}, Result: Result{Company: company, Found: []int64{}, Closed: []int64{}, Skipped: []Skipped{}, Notes: []string{}}}
	err := r.run(ctx)
	if r.reader != nil {
		r.Calls, r.Notes = r.reader.Calls(), append(r.Notes, r.reader.Malformed...)
	}
	return r.Result, err
}

func (r *companySweep) run(ctx context.Context) error {
	session, err := r.Procore.Company(r.id)
	if err != nil {
		return err
	}
	r.reader = &erplog.Reader{Session: session, Company: r.id, Namespace: r.Companies[r.id].WebhookNamespace, Backoff: r.Backoff, Waiting: func(d time.Duration, why string) {
		r.Log.Debug("sweep waits for Procore", zap.Int64("company", r.id), zap.Duration("wait", d), zap.String("why", why))
	}}
	if r.checkpoint, err = r.load(ctx, r.id); err != nil {
		return err
	}
	if r.retention, err = r.Bus.Retention(ctx, bus.Delivery); err != nil {
		return err
	}
	err = errors.Join(r.details(ctx), r.deliveries(ctx), r.closeWatched(ctx))
	if err == nil {
		r.checkpoint.At = time.Now()
	}
	return errors.Join(err, r.save(ctx, r.id, r.checkpoint))
}

// deliveries publishes the deliveries that the company's webhooks have discarded or are retrying.
func (r *companySweep) deliveries(ctx context.Context) error {
	hooks, err := r.reader.Hooks(ctx)
	if err != nil {
		return err
	}
	if len(hooks) == 0 {
		r.Notes = append(r.Notes, "the company has no webhook in Procore: requests are found by open request details only")
	}
	for _, hook := range hooks {
		discarded, failing := r.mark(label(hook)), r.mark(label(hook)+"/failing")
		discarded, err := r.reader.Deliveries(ctx, hook, erplog.LogDiscarded, discarded, func(some []erplog.Logged) error { return r.publishLogged(ctx, some) })
		if err != nil {
			return err
		}
		r.checkpoint.Deliveries[label(hook)] = discarded
		n, failing, err := r.reader.Failing(ctx, hook, failing, func(some []erplog.Logged) error { return r.publishLogged(ctx, some) })
		if err != nil {
			return err
		}
		r.Failing += n
		r.checkpoint.Deliveries[label(hook)+"/failing"] = failing
	}
	return r.saveFailing(ctx)
}

// saveFailing records as a trouble of the company that deliveries are failing, until a sweep finds no failing delivery. tieback
// status shows the trouble.
func (r *companySweep) saveFailing(ctx context.Context) error {
	t := trouble.Trouble{
		Company: r.id, Source: fault.FromProcore, Reason: fault.Undelivered, Since: r.checkpoint.Failing, Last: time.Now(),
		Error: fmt.Sprintf("Procore is retrying %d deliveries", r.Failing),
	}
	switch {
	case r.Failing > 0 && t.Since.IsZero():
		r.checkpoint.Failing, t.Since = t.Last, t.Last
		fallthrough
	case r.Failing > 0:
		return state.Of(r.Bus).SaveTrouble(ctx, t, 2*r.Every+time.Minute)
	case !t.Since.IsZero():
		r.checkpoint.Failing = time.Time{}
		return state.Of(r.Bus).ClearTrouble(ctx, t)
	}
	return nil
}

// mark returns where to continue in a list: at its start if it was not read completely within fullEvery.
func (r *companySweep) mark(list string) erplog.DeliveryMark {
	if mark := r.checkpoint.Deliveries[list]; time.Since(mark.Full) <= fullEvery {
		return mark
	}
	return erplog.DeliveryMark{}
}

// publishLogged publishes those deliveries of Procore's log that the streams lack, and lists the ones to skip.
func (r *companySweep) publishLogged(ctx context.Context, some []erplog.Logged) error {
	company := r.Companies[r.id]
	var missing []*tiebackv1.Delivery
	for _, d := range some {
		if r.calledOff[d.ErpRequestId] {
			continue // skipped with its request detail
		}
		if !company.InScope(delivery.Occurred(d.Delivery)) {
			r.Skipped = append(r.Skipped, Skipped{Request: d.ErpRequestId, Why: request.OlderText(company.Since)})
			continue
		}
		if !r.mayBeExpired(time.Since(delivery.Occurred(d.Delivery))) {
			missing = append(missing, d.Delivery)
		}
	}
	return r.publish(ctx, missing)
}

// mayBeExpired reports whether the streams may no longer have the messages of a request of this age. It is then unknown whether the
// request was processed, so the sweep does not publish it.
func (r *companySweep) mayBeExpired(age time.Duration) bool {
	return r.retention > 0 && age > r.retention-min(bus.Day, r.retention/30)
}

// publish publishes the missing deliveries concurrently, so that they share commits.
func (r *companySweep) publish(ctx context.Context, all []*tiebackv1.Delivery) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for _, d := range all {
		g.Go(func() error {
			missed, err := r.Bus.PublishIfAbsent(ctx, bus.For(bus.Delivery, "", d.CompanyId, d.ErpRequestId), d)
			if missed {
				r.mu.Lock()
				r.Found = append(r.Found, d.ErpRequestId)
				r.mu.Unlock()
			}
			return err
		})
	}
	return g.Wait()
}

// details publishes deliveries for the requests of open request details, and adds the details to the watched ones.
func (r *companySweep) details(ctx context.Context) error {
	mark := r.checkpoint.Details
	switch age := time.Since(mark.Full); {
	case mark.Anchor == 0 && mark.Pages > fewPages && age < unorderedEvery:
		return nil
	case age > fullEvery:
		mark = erplog.DetailMark{}
	}
	known := map[int64]bool{}
	for _, w := range r.checkpoint.Watched {
		known[w.Detail] = true
	}
	var open []watchedDetail
	next, err := r.reader.Details(ctx, mark, r.Grace, func(some []procore.Detail) error {
		fresh := r.openDetails(some, known)
		for _, d := range fresh {
			open = append(open, watchedDetail{Detail: d.ID, Request: d.Request, Since: time.Now()})
		}
		return r.publish(ctx, deliveriesOf(r.id, fresh))
	})
	if err != nil {
		return err
	}
	if len(r.checkpoint.Watched)+len(open) > maxWatched {
		r.Notes = append(r.Notes, fmt.Sprintf("more than %d request details are open", maxWatched))
		open = open[:max(0, maxWatched-len(r.checkpoint.Watched))]
		next = r.checkpoint.Details
	}
	r.checkpoint.Watched, r.checkpoint.Details = append(r.checkpoint.Watched, open...), next
	return nil
}

// openDetails returns the open details that are in scope and not known, adds them to known, and lists the details to skip.
func (r *companySweep) openDetails(some []procore.Detail, known map[int64]bool) []procore.Detail {
	company := r.Companies[r.id]
	var out []procore.Detail
	for _, d := range some {
		switch {
		case d.Ended() || known[d.ID]:
			continue
		case !d.Open():
			if _, other := r.calledOff[d.Request]; !other {
				r.calledOff[d.Request] = true
			}
			r.Skipped = append(r.Skipped, Skipped{Request: d.Request, Detail: d.ID, Why: d.StatusText()})
			continue
		case !company.InScope(d.Created):
			r.Skipped = append(r.Skipped, Skipped{Request: d.Request, Detail: d.ID, Why: request.OlderText(company.Since)})
			continue
		case d.Age < r.Grace:
			continue
		case d.Request == 0:
			r.Notes = append(r.Notes, fmt.Sprintf("request detail %d is open, and Procore's list does not name its ERP request (erp_request_id)", d.ID))
			continue
		case r.mayBeExpired(d.Age):
			r.Notes = append(r.Notes, fmt.Sprintf("request detail %d of ERP request %d has been open for %v: close it in Procore", d.ID, d.Request, d.Age.Round(time.Hour)))
			continue
		}
		known[d.ID], r.calledOff[d.Request] = true, false
		out = append(out, d)
	}
	return out
}

// deliveriesOf returns the deliveries of the details' requests, with the fields that are known.
func deliveriesOf(company int64, open []procore.Detail) []*tiebackv1.Delivery {
	var out []*tiebackv1.Delivery
	seen := map[int64]bool{}
	for _, d := range open {
		if seen[d.Request] {
			continue
		}
		seen[d.Request] = true
		delivery := &tiebackv1.Delivery{CompanyId: company, ErpRequestId: d.Request, ReceivedAt: timestamppb.Now()}
		if !d.Created.IsZero() {
			delivery.OccurredAt = timestamppb.New(d.Created)
		}
		out = append(out, delivery)
	}
	return out
}
