package bulk

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/procore"
)

// WriteTree writes records that name their parents, one level after the other, because a child needs the id
// that Procore gave its parent. ids has the known ids by origin id and receives the new ids. update makes the
// update of a record when its level is written.
func WriteTree(ctx context.Context, s *procore.Session, call procore.SyncCall, records []*Record, ids map[string]int64, update func(*Record) map[string]any) (Answer, error) {
	all := Answer{IDs: map[string]int64{}}
	for _, level := range levels(records, ids) {
		var items []Item
		for _, r := range level {
			items = append(items, Item{Record: r, Update: update(r)})
		}
		answer, err := Write(ctx, s, call, items)
		if err == nil {
			err = retryWithoutID(ctx, s, call, items, ids, &answer)
		}
		if err != nil {
			return all, err
		}
		maps.Copy(ids, answer.IDs)
		maps.Copy(all.IDs, answer.IDs)
		all.Refused = append(all.Refused, answer.Refused...)
	}
	return all, nil
}

// retryWithoutID writes refused records again without their Procore id, if that id came from the ERP and no link
// has it. The ERP keeps the id of a record that came from Procore, and Procore may have deleted that record
// since.
func retryWithoutID(ctx context.Context, s *procore.Session, call procore.SyncCall, items []Item, ids map[string]int64, answer *Answer) error {
	var retry []Item
	for _, i := range items {
		if _, sent := i.Update["id"]; sent && ids[i.Record.OriginId] == 0 && slices.ContainsFunc(answer.Refused, func(r Refusal) bool { return r.Record == i.Record }) {
			delete(i.Update, "id")
			retry = append(retry, i)
		}
	}
	if len(retry) == 0 {
		return nil
	}
	second, err := Write(ctx, s, call, retry)
	if err != nil {
		return err
	}
	maps.Copy(answer.IDs, second.IDs)
	answer.Refused = append(slices.DeleteFunc(answer.Refused, func(r Refusal) bool {
		return slices.ContainsFunc(retry, func(i Item) bool { return i.Record == r.Record })
	}), second.Refused...)
	return nil
}

// levels orders records so that parents whose ids are not known yet come before their children. A record
// whose parent is not among the records is on the first level. Records that are each other's parents come
// last.
func levels(records []*Record, ids map[string]int64) [][]*Record {
	unknown := map[string]bool{}
	for _, r := range records {
		unknown[r.OriginId] = ids[r.OriginId] == 0
	}
	var out [][]*Record
	for len(records) > 0 {
		var level, rest []*Record
		for _, r := range records {
			if unknown[r.ParentOriginId] && r.ParentOriginId != r.OriginId {
				rest = append(rest, r)
				continue
			}
			level = append(level, r)
		}
		if level == nil { // a cycle
			return append(out, rest)
		}
		for _, r := range level {
			delete(unknown, r.OriginId)
		}
		out, records = append(out, level), rest
	}
	return out
}

// Segments returns the code segments that Procore expects, by origin id: under a parent, only the part that
// the parent's code lacks. The ERP's "01-100" below "01" is Procore's "100".
func Segments(records []*Record) map[string]string {
	codes := map[string]string{}
	for _, r := range records {
		codes[r.OriginId] = r.Code
	}
	out := map[string]string{}
	for _, r := range records {
		out[r.OriginId] = segment(r.Code, codes[r.ParentOriginId])
	}
	return out
}

func segment(code, parent string) string {
	rest, ok := strings.CutPrefix(code, parent)
	trimmed := strings.TrimLeft(rest, "-./ ")
	if parent == "" || !ok || trimmed == rest || trimmed == "" {
		return code // "0110" below "01" may be a code of its own
	}
	return trimmed
}
