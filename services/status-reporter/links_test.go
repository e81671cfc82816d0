package statusreporter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// linked is a store with the link of one record.
type linked struct {
	records
	link state.Link
}

func (l linked) Link(context.Context, int64, string, int64) (state.Link, error) { return l.link, nil }

// An export whose record was unlinked by a newer request does not mark the record, however late its outcome comes: first the link
// without an origin id says so, and when that has expired, the outcome is refused.
func TestLateOutcomeOfOlderRequest(t *testing.T) {
	const day = 24 * time.Hour
	unlinkedAt := func(age time.Duration) state.Link {
		return state.Link{Order: order.New(time.Now().Add(-age), 2)}
	}
	for name, c := range map[string]struct {
		age     time.Duration // of the export
		link    state.Link
		marks   int
		refused bool
	}{
		"unlinked since, a week ago":              {8 * day, unlinkedAt(7 * day), 0, false},
		"unlinked since, as long ago as possible": {91 * day, unlinkedAt(90 * day), 0, false},
		"that link has expired":                   {91 * day, state.Link{}, 0, true},
		"so old that it may have expired":         {89*day + time.Hour, state.Link{}, 0, true},
		"never linked":                            {88 * day, state.Link{}, 1, false},
		"unlinked before":                         {7 * day, unlinkedAt(8 * day), 1, false},
		"old, and the record is linked":           {91 * day, state.Link{OriginID: "V-1", Order: order.New(time.Now().Add(-100*day), 2)}, 1, false},
	} {
		w := &queuedOutcome{}
		w.Outcome = &tiebackv1.Outcome{
			CompanyId: 7, ErpRequestId: 1, Type: "create_vendor", RequestedAt: timestamppb.New(time.Now().Add(-c.age)),
			CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 11, Status: good, Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 35, OriginId: "V-1"}}}},
		}
		s := &Service{store: linked{link: c.link}}
		err := s.dropSupersededOf(t.Context(), w)
		if c.refused {
			if fault.ClassOf(err) != fault.Permanent || fault.UserMessage(err, "") == "" {
				t.Errorf("%s: %v, want it refused", name, err)
			}
			continue
		}
		if n := len(w.Outcome.CloseOuts[0].Marks); err != nil || n != c.marks {
			t.Errorf("%s: %d marks, %v; want %d", name, n, err, c.marks)
		}
	}
}

// An outcome of a backup that was reported after the backup was made does not mark or unlink its record again: a newer request may have
// changed the record since. One that was not reported does.
func TestRestoredOutcomeThatWasReported(t *testing.T) {
	subject := bus.For(bus.Outcome, "create_vendor", 7, 1)
	for name, c := range map[string]struct {
		status  string
		created time.Duration // of the stream, before now
		updates int
	}{
		"restored, reported since":     {"success", time.Hour, 0},
		"restored, not reported since": {"in_progress", time.Hour, 1},
		"not restored":                 {"success", 48 * time.Hour, 1},
	} {
		client, _ := requestInProcore(t, fmt.Sprintf(`{"id": 1, "request_name": "create_vendor", "request_data": {"request_detail_id": 11}, "status": %q}`, c.status))
		s := &Service{Deps: Deps{Procore: client}, store: records{}, created: time.Now().Add(-c.created)}
		data, err := proto.Marshal(&tiebackv1.Outcome{
			CompanyId: 7, ErpRequestId: 1, Type: "create_vendor",
			CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 11, Status: good, Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 35, OriginId: "V-1"}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.decode(t.Context(), bus.Message{Subject: subject, RawSubject: subject.String(), Data: data, Stored: time.Now().Add(-24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(updatesOf(w.Outcome)); n != c.updates || w.Outcome.CloseOuts[0].Status != good {
			t.Errorf("%s: %d updates, want %d: %v", name, n, c.updates, w.Outcome)
		}
	}
}
