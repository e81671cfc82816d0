package statusreporter

import (
	"cmp"
	"slices"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// rounds parts a batch, the older request first, so that no round says two things of one record
// or of one request detail: a telling goes step by step, all marks before all unlinks, and a
// refusal names the record, not the request.
func rounds(batch []*waiting) [][]*waiting {
	slices.SortStableFunc(batch, func(a, b *waiting) int {
		return cmp.Or(cmp.Compare(order.Of(a.Outcome), order.Of(b.Outcome)), cmp.Compare(a.word(), b.word()))
	})
	said, told := map[record]statement{}, map[int64]int{}
	var all [][]*waiting
	for _, w := range batch {
		round, says := 0, statements(w.Outcome)
		for r, origin := range says {
			if before, ok := said[r]; ok {
				round = max(round, before.round)
				if before.origin != origin || origin == unlinked {
					round = max(round, before.round+1)
				}
			}
		}
		for _, c := range w.Outcome.CloseOuts {
			if before, ok := told[c.RequestDetailId]; ok && c.RequestDetailId != 0 {
				round = max(round, before+1)
			}
		}
		for r, origin := range says {
			said[r] = statement{round, origin}
		}
		for _, c := range w.Outcome.CloseOuts {
			told[c.RequestDetailId] = round
		}
		if round == len(all) {
			all = append(all, nil)
		}
		all[round] = append(all[round], w)
	}
	return all
}

// word is the place of what an outcome says of its request: that it is in progress comes before its end.
func (w *waiting) word() int {
	if w.subject == (bus.Subject{}) {
		return 0
	}
	return 1
}

// statement is what was said of a record, and in which round.
type statement struct {
	round  int
	origin string
}

// unlinked stands for the origin id of a record that is unlinked by status management.
const unlinked = "\x00"

// statements are what an outcome says of each record.
func statements(o *tiebackv1.Outcome) map[record]string {
	says := map[record]string{}
	for _, c := range o.CloseOuts {
		for _, m := range c.Marks {
			says[record{m.ItemType, m.ItemId}] = m.OriginId
		}
		for _, u := range c.Unlinks {
			says[record{u.ItemType, u.ItemId}] = unlinked
		}
	}
	return says
}
