package ledger

import (
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// What a newer ERP request wrote, an older one that comes late does not overwrite. Table
// newest keeps the order of the newest request of each record.

// overtaken says whether a newer request wrote the record. Order "" is the ERP's own people,
// whom nothing overtakes.
func (t *tx) overtaken(id int64, order string) (bool, error) {
	var last string
	_, err := t.get([]any{&last}, "SELECT request_order FROM newest WHERE record_id = ?", id)
	return order != "" && order < last, err
}

// wrote notes the order of the request that wrote a record.
func (t *tx) wrote(id int64, order string) error {
	if order == "" {
		return nil
	}
	return t.exec("INSERT INTO newest VALUES (?, ?) ON CONFLICT (record_id) DO UPDATE SET request_order = max(request_order, excluded.request_order)", id, order)
}

func newer(r *Record) error {
	return fault.Refused("request", "A newer request has already changed the %s.", call(r))
}

// overtakes refuses the change of a record that a newer request wrote. To a budget the older
// may still add: its lines are transactions, each of its own.
func (t *tx) overtakes(req *tiebackv1.PutRequest, r *Record) error {
	if r.GetOriginId() == "" {
		return nil
	}
	old, err := t.find(r.GetEntity(), r.GetOriginId())
	if err != nil || old == nil {
		return err
	}
	late, err := t.overtaken(old.id, req.GetOrder())
	switch {
	case err != nil || !late:
		return err
	case r.GetEntity() != Budget:
		return newer(old.rec)
	}
	addTo(r, old.rec)
	return nil
}

// addTo leaves of a late budget only what the books do not have.
func addTo(r, old *Record) {
	known := map[string]*tiebackv1.Line{}
	for _, l := range old.GetLines() {
		known[lineKey(l)] = l
	}
	lines := r.GetLines()
	proto.Reset(r)
	proto.Merge(r, old)
	r.Lines = lines
	for i, l := range lines {
		if k := known[lineKey(l)]; k != nil && l.GetProcoreId() != 0 {
			r.Lines[i] = proto.CloneOf(k)
		}
	}
}
