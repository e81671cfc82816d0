package ledger

import (
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// request is an ERP request's PutRequest or RemoveRequest.
type request interface {
	GetOrder() string
	GetOrderLatest() string
}

// superseded reports whether a request must not change or remove a record; see connector.Superseded.
func (t *tx) superseded(id int64, q request) (bool, error) {
	var latest string
	_, err := t.get([]any{&latest}, "SELECT order_latest FROM requests WHERE record_id = ?", id)
	return connector.Superseded(latest, q), err
}

// recordRequest stores that a request wrote a record.
func (t *tx) recordRequest(id int64, q request) error {
	if q.GetOrderLatest() == "" {
		return nil
	}
	return t.exec("INSERT INTO requests VALUES (?, ?) ON CONFLICT (record_id) DO UPDATE SET order_latest = max(order_latest, excluded.order_latest)", id, q.GetOrderLatest())
}

func refuseSuperseded(r *Record) error {
	return fault.Refused("request", "A newer request, or one made in the same second, has already changed the %s.", call(r))
}

// checkSuperseded refuses a change that is superseded. A superseded budget still adds its lines, which are transactions:
// checkSuperseded leaves only those in r that the ledger does not have.
func (t *tx) checkSuperseded(q *tiebackv1.PutRequest, r *Record) error {
	if r.GetOriginId() == "" {
		return nil
	}
	old, err := t.find(r.GetEntity(), r.GetOriginId())
	if err != nil || old == nil {
		return err
	}
	superseded, err := t.superseded(old.id, q)
	switch {
	case err != nil || !superseded:
		return err
	case r.GetEntity() != Budget:
		return refuseSuperseded(old.rec)
	}
	addLines(r, old.rec)
	return nil
}

// addLines replaces all of a budget but its lines by the booked budget. A line that is booked stays as it is.
func addLines(r, old *Record) {
	booked := map[string]*tiebackv1.Line{}
	for _, l := range old.GetLines() {
		booked[lineKey(l)] = l
	}
	lines := r.GetLines()
	proto.Reset(r)
	proto.Merge(r, old)
	r.Lines = lines
	for i, l := range lines {
		if b := booked[lineKey(l)]; b != nil && l.GetProcoreId() != 0 {
			r.Lines[i] = proto.CloneOf(b)
		}
	}
}
