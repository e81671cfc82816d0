package ledger

import (
	"cmp"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// put books a record under its key, or returns the booking of the key. It runs in one savepoint: the record, its lines,
// its journal entry and the key are written together or not at all.
func (t *tx) put(req *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	key, r := req.GetKey(), proto.CloneOf(req.GetRecord())
	if b, err := t.booked(key, r); b != nil || err != nil {
		return b, err
	}
	if tr, ok := traitOf(r.GetEntity()); ok && r.GetOriginId() != "" && !tr.put {
		return nil, fault.Refused("origin_id", "The %s is already in the ledger, as %s, and an export can't change it. "+
			"Change it in the ledger, or reset it in Procore and export it again.", call(r), r.GetOriginId())
	}
	if err := t.checkSuperseded(req, r); err != nil {
		return nil, err
	}
	sent := len(r.GetLines())
	row, order, err := t.write(r, true)
	if err != nil {
		return nil, err
	}
	messages, err := t.numbered(row)
	if err != nil {
		return nil, err
	}
	if err := t.recordRequest(row.id, req); err != nil {
		return nil, err
	}
	b := &tiebackv1.Booking{OriginId: row.rec.OriginId, OriginCode: row.rec.Code, OriginData: row.rec.OriginData, Stamp: req.GetStamp(), Messages: messages}
	for i := range sent {
		b.LineOriginIds = append(b.LineOriginIds, row.rec.Lines[order[i]].OriginId)
	}
	return b, t.keep(key, row.id, b)
}

// booked returns the booking of a key, or nil for a new key.
func (t *tx) booked(key string, r *Record) (*tiebackv1.Booking, error) {
	var raw []byte
	var entity int32
	found, err := t.get([]any{&raw, &entity}, findKey, key)
	if err != nil || !found {
		return nil, err
	}
	if Entity(entity) != r.GetEntity() {
		return nil, fault.Permanentf("The key %q belongs to a %s in the ledger, not to a %s.", key, Title(Entity(entity)), Title(r.GetEntity()))
	}
	b := &tiebackv1.Booking{}
	return b, proto.Unmarshal(raw, b)
}

const findKey = "SELECT k.booking, r.entity FROM keys k JOIN records r ON r.id = k.record_id WHERE k.key = ?"

func (t *tx) keep(key string, id int64, b *tiebackv1.Booking) error {
	raw, err := proto.Marshal(b)
	if err != nil {
		return err
	}
	return t.exec("INSERT INTO keys VALUES (?, ?, ?)", key, id, raw)
}

// write checks and writes a record. A record without an origin id is new; one with an origin id is replaced. With merge,
// a budget keeps the lines that r lacks, as Procore sends only new transactions. order has the index of each line of r
// in the lines of the row.
func (t *tx) write(r *Record, merge bool) (next *row, order []int, err error) {
	normalize(r)
	if err := validate(r); err != nil {
		return nil, nil, err
	}
	old, err := t.existing(r)
	if err != nil {
		return nil, nil, err
	}
	if err := t.resolve(r); err != nil {
		return nil, nil, err
	}
	if r.GetEntity() == JobCost {
		next, err = t.writeJobCost(r)
		return next, nil, err
	}
	next = &row{rec: r}
	if old != nil {
		next.id, next.lines = old.id, old.lines
		inheritOld(r, old.rec)
		if err := t.keepCurrency(r, old.rec); err != nil {
			return nil, nil, err
		}
	} else if r.OriginId == "" {
		t.name(r)
	}
	r.Code = cmp.Or(r.Code, autoCode(r))
	order = next.number(old, merge && r.GetEntity() == Budget)
	return next, order, t.store(next, old)
}

// existing returns the record that r replaces, or nil for a new record. A deleted assignment is restored.
func (t *tx) existing(r *Record) (*row, error) {
	if natural(r.GetEntity()) {
		r.OriginId = connector.AssignmentID(r.GetCostCodeOriginId(), r.GetCategoryOriginId())
		return t.find(r.GetEntity(), r.OriginId)
	}
	if r.GetOriginId() == "" {
		return nil, nil
	}
	old, err := t.find(r.GetEntity(), r.GetOriginId())
	switch {
	case err != nil:
		return nil, err
	case old == nil:
		return nil, fault.Refused("origin_id", "The %s %s is unknown in the ledger, so it can't be changed. Reset it in Procore and export it again.",
			Title(r.GetEntity()), r.GetOriginId())
	case old.deleted:
		return nil, fault.Refused("origin_id", "The %s %s was deleted in the ledger, so it can't be changed. Reset it in Procore and export it again.",
			Title(r.GetEntity()), r.GetOriginId())
	}
	return old, nil
}

func inheritOld(r, old *Record) {
	if r.ProcoreId == 0 {
		r.ProcoreId = old.ProcoreId
	}
	r.Code = cmp.Or(r.Code, old.Code)
	r.OriginData = cmp.Or(r.OriginData, old.OriginData)
}

// workOrder is the prefix of commitments that are work orders.
const workOrder = "WO"

// name assigns the origin id of a new record: JOB-000003.
func (t *tx) name(r *Record) {
	tr, _ := traitOf(r.GetEntity())
	prefix := tr.prefix
	if r.GetEntity() == Commitment && r.GetKind() == "work_order_contract" {
		prefix = workOrder
	}
	r.OriginId = fmt.Sprintf("%s-%06d", prefix, t.next(prefix))
}

func autoCode(r *Record) string {
	if natural(r.GetEntity()) {
		return ""
	}
	return cmp.Or(r.GetNumber(), r.GetOriginId())
}

// store writes a row with its lines, references and journal entry.
func (t *tx) store(next, old *row) error {
	if err := t.save(next); err != nil {
		return err
	}
	if err := t.storeLines(next, old); err != nil {
		return err
	}
	if err := t.depend(next.id, next.rec); err != nil {
		return err
	}
	if next.rec.Entity == CostTypeAssignment {
		return t.openJobCost(next.rec)
	}
	return t.rebook(next, old)
}

// number assigns the origin ids of lines: PO-000001-2. A line that is found by its origin id or Procore's id keeps its
// number when the record is written again. A number is never used twice.
func (r *row) number(old *row, merge bool) (order []int) {
	byOrigin, byProcore := map[string]*tiebackv1.Line{}, map[string]*tiebackv1.Line{}
	lines := []*tiebackv1.Line{}
	at := map[string]int{}
	if old != nil {
		for _, l := range old.rec.Lines {
			byOrigin[l.OriginId], byProcore[lineKey(l)] = l, l
			if merge {
				at[l.OriginId] = len(lines)
				lines = append(lines, l)
			}
		}
	}
	for _, l := range r.rec.Lines {
		same := byOrigin[l.OriginId]
		if same == nil && l.ProcoreId != 0 {
			same = byProcore[lineKey(l)]
		}
		if same != nil {
			l.OriginId = same.OriginId
			delete(byOrigin, same.OriginId)
			delete(byProcore, lineKey(same))
		} else {
			r.lines++
			l.OriginId = fmt.Sprintf("%s-%d", r.rec.OriginId, r.lines)
		}
		i, known := at[l.OriginId]
		if !known {
			i = len(lines)
			lines = append(lines, l)
		}
		lines[i] = l
		order = append(order, i)
	}
	r.rec.Lines = lines
	return order
}

func lineKey(l *tiebackv1.Line) string { return fmt.Sprintf("%s/%d", l.GetKind(), l.GetProcoreId()) }

// storeLines writes the lines, and refuses to remove one that is billed.
func (t *tx) storeLines(next, old *row) error {
	if old != nil {
		if err := t.dropLines(next, old); err != nil {
			return err
		}
	}
	for _, l := range next.rec.Lines {
		err := t.exec("INSERT INTO lines VALUES (?, ?, ?, ?)", l.OriginId, next.id, l.CostCodeOriginId, l.CategoryOriginId)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) dropLines(next, old *row) error {
	kept := map[string]bool{}
	for _, l := range next.rec.Lines {
		kept[l.OriginId] = true
	}
	for i, l := range old.rec.Lines {
		if kept[l.OriginId] {
			continue
		}
		on, err := t.dependents(line, l.OriginId)
		if err != nil {
			return err
		}
		if len(on) > 0 {
			return fault.Refused("lines", "Line %d of the %s can't be removed: %s. Delete that first.", i+1, call(old.rec), dependsOn(on))
		}
	}
	return t.exec("DELETE FROM lines WHERE record_id = ?", old.id)
}
