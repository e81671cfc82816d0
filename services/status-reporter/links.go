package statusreporter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/status-reporter/internal/closeout"
)

// store has the messages of the streams and the links. Tests have a model of it.
type store interface {
	Has(context.Context, bus.Subject) (bool, error)
	Last(context.Context, bus.Subject) (bus.Message, bool, error)
	PublishOnce(context.Context, bus.Subject, proto.Message) error
	Link(ctx context.Context, company int64, itemType string, itemID int64) (state.Link, error)
	SaveLink(ctx context.Context, company int64, itemType string, itemID int64, l state.Link) error
}

// busStore is the store of the service.
type busStore struct {
	*bus.Bus
	*state.State
}

// links are the links that the records of an outcome have before it is reported.
type links map[recordKey]state.Link

type recordKey struct {
	itemType string
	id       int64
}

// dropSuperseded removes from the outcomes of a batch the updates of records that a newer request has updated, so that Procore
// keeps the mark of the newest request. Of two requests whose order is unknown, Procore keeps the mark that was made first.
// An outcome whose links can't be read, or that is too old to be ordered, is not in the batch that is returned; its handler gets the
// error.
func (s *Service) dropSuperseded(ctx context.Context, batch []*queuedOutcome) []*queuedOutcome {
	errs := make([]error, len(batch))
	var reads sync.WaitGroup
	for i, w := range batch {
		reads.Go(func() { errs[i] = s.dropSupersededOf(ctx, w) })
	}
	reads.Wait()
	var kept []*queuedOutcome
	for i, w := range batch {
		if errs[i] != nil {
			w.done <- errs[i]
			continue
		}
		kept = append(kept, w)
	}
	return kept
}

// dropSupersededOf is dropSuperseded for one outcome. It sets w.links.
func (s *Service) dropSupersededOf(ctx context.Context, w *queuedOutcome) error {
	w.links = links{}
	for r := range updatesOf(w.Outcome) {
		l, err := s.store.Link(ctx, w.Outcome.CompanyId, r.itemType, r.id)
		if err != nil {
			return err
		}
		w.links[r] = l
	}
	if err := tooOld(w, time.Now()); err != nil {
		return err
	}
	own := order.Of(w.Outcome)
	superseded := func(itemType string, id int64) bool {
		last := w.links[recordKey{itemType, id}].Order
		return !own.Same(last) && !own.After(last)
	}
	for _, c := range w.Outcome.CloseOuts {
		c.Marks = slices.DeleteFunc(c.Marks, func(m *tiebackv1.Mark) bool { return superseded(m.ItemType, m.ItemId) })
		c.Unlinks = slices.DeleteFunc(c.Unlinks, func(u *tiebackv1.Unlink) bool { return superseded(u.ItemType, u.ItemId) })
	}
	return nil
}

// dropReported removes the updates of records from an outcome of a backup that was reported after the backup was made. Procore shows its
// request details as successful, which is the last step of a report. A newer request may have changed the records since, and the
// broker may have lost its links with the outcome's report.
func (s *Service) dropReported(ctx context.Context, m bus.Message, o *tiebackv1.Outcome) error {
	if !m.Stored.Before(s.created) || m.Subject.Run != "" || len(updatesOf(o)) == 0 {
		return nil
	}
	session, err := s.Procore.Company(o.CompanyId)
	if err != nil {
		return err
	}
	for _, c := range o.CloseOuts {
		if c.Status != tiebackv1.Status_STATUS_SUCCESS || c.RequestDetailId == 0 {
			continue
		}
		status, err := procore.DetailStatus(ctx, session.Do, c.RequestDetailId)
		if err != nil && fault.ClassOf(err) != fault.Permanent {
			return err
		}
		if status == procore.DetailSuccess {
			c.Marks, c.Assignments, c.BudgetTransactions, c.Unlinks, c.Links = nil, nil, nil, nil, nil
		}
	}
	return nil
}

// tooOld returns a permanent error if an outcome links a record that has no link, and was requested so long ago that the link of a
// record that a newer request has unlinked would have expired. Such an outcome is a replay.
func tooOld(w *queuedOutcome, now time.Time) error {
	at := w.Outcome.RequestedAt
	if !at.IsValid() || now.Sub(at.AsTime()) < state.RemovedFor-clockMargin {
		return nil
	}
	for _, c := range linkChanges(w.Outcome) {
		r := recordKey{c.ItemType, c.ItemId}
		if l := w.links[r]; l.OriginID == "" && l.Order == "" { // it has none, or it was not read
			return &fault.Error{Class: fault.Permanent, UserMessage: "This request is too old to be reported: the record may have been unlinked since. Please repeat it in Procore.", Err: fmt.Errorf(
				"the request is older than %v, and whether %s %d was unlinked since is not known any more: ask the accountant to repeat the request, and discard the dead letter", state.RemovedFor, r.itemType, r.id)}
		}
	}
	return nil
}

// clockMargin is more than Procore's clock and ours differ.
const clockMargin = 24 * time.Hour

// storeLinks returns the function that stores the links of a batch's outcomes. It may be called more than once for an outcome.
func (s *Service) storeLinks(batch []*queuedOutcome) closeout.StoreLinks {
	return func(ctx context.Context, i int, o *tiebackv1.Outcome) error {
		var g errgroup.Group
		for _, l := range linkChanges(o) {
			before := batch[i].links[recordKey{l.ItemType, l.ItemId}]
			g.Go(func() error {
				return s.store.SaveLink(ctx, o.CompanyId, l.ItemType, l.ItemId, before.Update(l.OriginId, order.Of(o)))
			})
		}
		return g.Wait()
	}
}

// linkChanges returns the links to store, or to remove, for an outcome that Procore has accepted.
func linkChanges(o *tiebackv1.Outcome) []*tiebackv1.Link {
	var links []*tiebackv1.Link
	for _, c := range o.CloseOuts {
		for _, m := range c.Marks {
			links = append(links, &tiebackv1.Link{ItemType: m.ItemType, ItemId: m.ItemId, OriginId: m.OriginId})
		}
		if c.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, u := range c.Unlinks {
			links = append(links, &tiebackv1.Link{ItemType: u.ItemType, ItemId: u.ItemId})
		}
		links = append(links, c.Links...)
	}
	return links
}
