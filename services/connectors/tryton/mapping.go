package tryton

import (
	"bytes"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// mapping is a row of tieback.record: a record of Tryton as Procore sees it.
type mapping struct {
	ID       int64
	Entity   text
	Origin   text
	Resource int64 // the id in the entity's model
	Live     bool
	Procore  int64
	Data     text // the record as it was booked; "": entered in Tryton
	Lines    text // ids of the lines as JSON, in the order of the record's lines

	Job, Vendor, Contract, Parent, Category text

	SubJob   text `json:"sub_job"`
	CostCode text `json:"cost_code"`
}

// booked returns the record as it was put, with its origin ids, or nil if it was entered in Tryton.
func (m *mapping) booked() (*record, error) {
	if m.Data == "" {
		return nil, nil
	}
	r := &record{}
	if err := protojson.Unmarshal([]byte(m.Data), r); err != nil {
		return nil, err
	}
	r.OriginId = m.Origin
	var ids []json.RawMessage
	if m.Lines != "" {
		if err := json.Unmarshal([]byte(m.Lines), &ids); err != nil {
			return nil, err
		}
	}
	for i, l := range r.Lines {
		if i < len(ids) {
			l.OriginId = string(bytes.Trim(ids[i], `"`))
		}
	}
	return r, nil
}

// keep encodes r for a mapping: JSON without spaces, so that it can be searched.
func keep(r *record) (string, error) {
	raw, err := protojson.Marshal(r)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = json.Compact(&out, raw)
	return out.String(), err
}

// tombstone returns the change of a record that is no longer in the books.
func (m *mapping) tombstone(e entity) *tiebackv1.Change {
	return &tiebackv1.Change{Deleted: true, Record: &record{
		Entity: e, ProcoreId: m.Procore, OriginId: m.Origin, JobOriginId: m.Job, SubJobOriginId: m.SubJob,
		VendorOriginId: m.Vendor, ContractOriginId: m.Contract, ParentOriginId: m.Parent,
		CostCodeOriginId: m.CostCode, CategoryOriginId: m.Category,
	}}
}

// owners fills in what the record belongs to, unless the record has it.
func (m *mapping) owners(r *record) {
	for _, o := range []struct {
		to   *string
		from string
	}{
		{&r.JobOriginId, m.Job}, {&r.SubJobOriginId, m.SubJob}, {&r.VendorOriginId, m.Vendor},
		{&r.ContractOriginId, m.Contract}, {&r.ParentOriginId, m.Parent},
		{&r.CostCodeOriginId, m.CostCode}, {&r.CategoryOriginId, m.Category},
	} {
		if *o.to == "" {
			*o.to = o.from
		}
	}
}
