package statusreporter

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/order"
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
// An outcome whose links can't be read is not in the batch that is returned; its handler gets the error.
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
	own := order.Of(w.Outcome)
	superseded := func(itemType string, id int64) bool {
		last := w.links[recordKey{itemType, id}].Order
		return last != own && !own.After(last)
	}
	for _, c := range w.Outcome.CloseOuts {
		c.Marks = slices.DeleteFunc(c.Marks, func(m *tiebackv1.Mark) bool { return superseded(m.ItemType, m.ItemId) })
		c.Unlinks = slices.DeleteFunc(c.Unlinks, func(u *tiebackv1.Unlink) bool { return superseded(u.ItemType, u.ItemId) })
	}
	return nil
}

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
