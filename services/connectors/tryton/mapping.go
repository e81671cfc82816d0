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
func (f *mapping) booked() (*record, error) {
	if f.Data == "" {
		return nil, nil
	}
	r := &record{}
	if err := protojson.Unmarshal([]byte(f.Data), r); err != nil {
		return nil, err
	}
	r.OriginId = f.Origin
	var ids []json.RawMessage
	if f.Lines != "" {
		if err := json.Unmarshal([]byte(f.Lines), &ids); err != nil {
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
func (f *mapping) tombstone(e entity) *tiebackv1.Change {
	return &tiebackv1.Change{Deleted: true, Record: &record{
		Entity: e, ProcoreId: f.Procore, OriginId: f.Origin, JobOriginId: f.Job, SubJobOriginId: f.SubJob,
		VendorOriginId: f.Vendor, ContractOriginId: f.Contract, ParentOriginId: f.Parent,
		CostCodeOriginId: f.CostCode, CategoryOriginId: f.Category,
	}}
}

// owners fills in what the record belongs to, unless the record has it.
func (f *mapping) owners(r *record) {
	for _, o := range []struct {
		to   *string
		from string
	}{
		{&r.JobOriginId, f.Job}, {&r.SubJobOriginId, f.SubJob}, {&r.VendorOriginId, f.Vendor},
		{&r.ContractOriginId, f.Contract}, {&r.ParentOriginId, f.Parent},
		{&r.CostCodeOriginId, f.CostCode}, {&r.CategoryOriginId, f.Category},
	} {
		if *o.to == "" {
			*o.to = o.from
		}
	}
}
