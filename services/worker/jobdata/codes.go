package jobdata

import (
	"cmp"
	"context"
	"maps"

	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// writeCodes writes the job's cost codes, parents first, and returns Procore's ids by origin id.
func writeCodes(ctx context.Context, t *worker.Task, j Job, codes []*bulk.Record, report *bulk.Report) (map[string]int64, error) {
	ids, err := t.State.Links(ctx, t.Event.CompanyId, "cost_code")
	if err != nil {
		return nil, err
	}
	standard, err := t.State.Links(ctx, t.Event.CompanyId, "standard_cost_code")
	if err != nil {
		return nil, err
	}
	own := filterIDs(ids, codes)
	hash, changed, err := Changed(ctx, t, costCode.String(), j, texts(codes))
	if err != nil || (!changed && len(own) == len(codes)) {
		return own, err
	}
	w := codeWriter{t: t, job: j, codes: bulk.Segments(codes), known: maps.Clone(own), ids: own, standard: standard, report: report}
	complete, err := w.write(ctx, codes)
	if err = report.Optional(err); err != nil || !complete {
		return own, err
	}
	return own, SaveHash(ctx, t, costCode.String(), j, hash)
}

// filterIDs returns the ids of these records only.
func filterIDs(ids map[string]int64, records []*bulk.Record) map[string]int64 {
	out := map[string]int64{}
	for _, r := range records {
		if id, ok := ids[r.OriginId]; ok {
			out[r.OriginId] = id
		}
	}
	return out
}

type codeWriter struct {
	t        *worker.Task
	job      Job
	codes    map[string]string // Procore's code segments, by origin id
	known    map[string]int64  // cost code ids that were known before
	ids      map[string]int64  // known, and the ids that Procore returns now
	standard map[string]int64
	report   *bulk.Report
}

// write writes the cost codes and reports whether Procore accepted all of them.
func (w *codeWriter) write(ctx context.Context, codes []*bulk.Record) (bool, error) {
	answer, err := bulk.WriteTree(ctx, w.t.Procore, codesCall(w.job), codes, w.ids, w.update)
	w.report.Links = append(w.report.Links, answer.Links("cost_code", w.known)...)
	w.report.Refused = append(w.report.Refused, answer.Refused...)
	if err != nil {
		return false, err
	}
	w.report.Updated += len(codes) - len(answer.Refused)
	return len(answer.Refused) == 0, nil
}

func (w *codeWriter) update(r *bulk.Record) map[string]any {
	return bulk.Fields(
		"id", cmp.Or(w.known[r.OriginId], r.ProcoreId), "origin_id", r.OriginId, "origin_data", r.OriginData,
		"code", w.codes[r.OriginId], "name", cmp.Or(r.Name, r.Description),
		"parent_id", w.ids[r.ParentOriginId], "standard_cost_code_id", w.standard[r.StandardOriginId])
}

// texts returns the fields of the records that are compared from sync to sync.
func texts(records []*bulk.Record) [][]string {
	var out [][]string
	for _, r := range records {
		out = append(out, []string{
			r.OriginId, r.Code, r.Name, r.Description, r.OriginData, r.ParentOriginId, r.StandardOriginId,
			r.CostCodeOriginId, r.CategoryOriginId, r.Amount, r.ActualAmount,
		})
	}
	return out
}
