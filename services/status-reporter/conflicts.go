package statusreporter

import (
	"cmp"
	"slices"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// conflictFree sorts outcomes by the order of their requests, oldest first, and splits them into batches. A batch has at most one
// update of each record and request detail; equal marks of a record count as one. Two updates of a record must not share a
// batch, because a batch makes all unlinks before all marks, and because Procore's refusals name the record, not the request.
func conflictFree(outcomes []*queuedOutcome) [][]*queuedOutcome {
	slices.SortStableFunc(outcomes, func(a, b *queuedOutcome) int {
		return cmp.Or(cmp.Compare(order.Of(a.Outcome), order.Of(b.Outcome)), cmp.Compare(a.rank(), b.rank()))
	})
	records, details := map[recordKey]update{}, map[int64]int{} // the last update of each record; the last batch with each request detail
	var batches [][]*queuedOutcome
	for _, w := range outcomes {
		batch, updates := 0, updatesOf(w.Outcome)
		for r, origin := range updates {
			if last, ok := records[r]; ok {
				batch = max(batch, last.batch)
				if last.origin != origin || origin == unlinkedOrigin {
					batch = max(batch, last.batch+1)
				}
			}
		}
		for _, c := range w.Outcome.CloseOuts {
			if last, ok := details[c.RequestDetailId]; ok && c.RequestDetailId != 0 {
				batch = max(batch, last+1)
			}
		}
		for r, origin := range updates {
			records[r] = update{batch, origin}
		}
		for _, c := range w.Outcome.CloseOuts {
			details[c.RequestDetailId] = batch
		}
		if batch == len(batches) {
			batches = append(batches, nil)
		}
		batches[batch] = append(batches[batch], w)
	}
	return batches
}

// rank orders the outcomes of one request: the report that the request is in progress precedes the report of its end.
func (w *queuedOutcome) rank() int {
	if w.inProgress {
		return 0
	}
	return 1
}

// update is the last update of a record, and the batch that has it.
type update struct {
	batch  int
	origin string
}

// unlinkedOrigin is used as the origin id of a record that status management unlinks.
const unlinkedOrigin = "\x00"

// updatesOf returns the origin ids that an outcome gives to records.
func updatesOf(o *tiebackv1.Outcome) map[recordKey]string {
	updates := map[recordKey]string{}
	for _, c := range o.CloseOuts {
		for _, m := range c.Marks {
			updates[recordKey{m.ItemType, m.ItemId}] = m.OriginId
		}
		for _, u := range c.Unlinks {
			updates[recordKey{u.ItemType, u.ItemId}] = unlinkedOrigin
		}
	}
	return updates
}
