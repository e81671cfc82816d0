package ledger

import (
	"database/sql"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// row is a record in the database.
type row struct {
	id      int64
	deleted bool
	lines   int64 // the last line number
	seq     int64
	rec     *Record
}

// rowColumns are the columns of records r that scanRow reads.
const rowColumns = "r.id, r.deleted, r.lines, r.seq, r.body"

type scanner interface{ Scan(...any) error }

func scanRow(s scanner) (*row, error) {
	var r row
	var body []byte
	if err := s.Scan(&r.id, &r.deleted, &r.lines, &r.seq, &body); err != nil {
		return nil, err
	}
	r.rec = &Record{}
	if err := proto.Unmarshal(body, r.rec); err != nil {
		return nil, fmt.Errorf("record %d: %w", r.id, err)
	}
	return &r, nil
}

// change returns the change that List returns: a tombstone for a deleted row.
func (r *row) change() *tiebackv1.Change {
	if !r.deleted {
		return &tiebackv1.Change{Record: r.rec}
	}
	return &tiebackv1.Change{Deleted: true, Record: &Record{
		Entity: r.rec.Entity, ProcoreId: r.rec.ProcoreId, OriginId: r.rec.OriginId,
		JobOriginId: r.rec.JobOriginId, SubJobOriginId: r.rec.SubJobOriginId, VendorOriginId: r.rec.VendorOriginId,
		ContractOriginId: r.rec.ContractOriginId, ParentOriginId: r.rec.ParentOriginId,
		CostCodeOriginId: r.rec.CostCodeOriginId, CategoryOriginId: r.rec.CategoryOriginId,
	}}
}

const findRow = "SELECT " + rowColumns + " FROM records r WHERE r.entity = ? AND r.origin_id = ?"

// find returns a record, deleted or not, or nil for an unknown one.
func (t *tx) find(e Entity, origin string) (*row, error) {
	rows, err := t.rows(findRow, int(e), origin)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// rows reads all rows of a query that selects rowColumns.
func (t *tx) rows(query string, args ...any) ([]*row, error) {
	var out []*row
	err := t.each(func(r *sql.Rows) error {
		got, err := scanRow(r)
		out = append(out, got)
		return err
	}, query, args...)
	return out, err
}

// save writes a row with a new change number. A row without an id is new.
func (t *tx) save(r *row) error {
	if err := t.codeFree(r); err != nil {
		return err
	}
	rec := r.rec
	body, err := proto.Marshal(rec)
	if err != nil {
		return fault.Refused("", "The %s has a text with invalid characters (not UTF-8). Enter the text again in Procore, then export the record again.", Title(rec.GetEntity()))
	}
	r.seq = t.next("seq")
	if r.id == 0 {
		r.id, err = t.insert("INSERT INTO records (entity, origin_id, procore_id, code, name, job, sub_job, parent, scope, lines, seq, deleted, body)"+
			" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			int(rec.Entity), rec.OriginId, rec.ProcoreId, rec.Code, rec.Name, rec.JobOriginId, rec.SubJobOriginId,
			rec.ParentOriginId, scope(rec), r.lines, r.seq, r.deleted, body)
		return err
	}
	return t.exec("UPDATE records SET procore_id = ?, code = ?, name = ?, job = ?, sub_job = ?, parent = ?, scope = ?,"+
		" lines = ?, seq = ?, deleted = ?, body = ? WHERE id = ?",
		rec.ProcoreId, rec.Code, rec.Name, rec.JobOriginId, rec.SubJobOriginId, rec.ParentOriginId, scope(rec),
		r.lines, r.seq, r.deleted, body, r.id)
}

// codeFree refuses a code that another live record has. The message has the word "code": only then does Procore let
// the user export a job again with another one.
func (t *tx) codeFree(r *row) error {
	in := scope(r.rec)
	if in == nil || r.deleted {
		return nil
	}
	var other string
	found, err := t.get([]any{&other}, "SELECT origin_id FROM records WHERE entity = ? AND scope = ? AND code = ? AND deleted = 0 AND id <> ?",
		int(r.rec.Entity), in, r.rec.Code, r.id)
	if err != nil || !found {
		return err
	}
	title, where := Title(r.rec.Entity), ""
	switch {
	case r.rec.Entity == CostCode && r.rec.SubJobOriginId != "":
		where = " of this sub job"
	case r.rec.Entity == CostCode || r.rec.Entity == SubJob:
		where = " of this job"
	}
	of := title + " code"
	if r.rec.Entity == CostCode || r.rec.Entity == StandardCostCode {
		of = title
	}
	return fault.Refused("code", "The %s %q is already used by another %s%s in the ledger. Export the %s again with a different code; if it is the same %s, sync it from the ledger instead.",
		of, r.rec.Code, title, where, title, title)
}
