package tryton

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	defaultPage = 200
	maxPage     = 1000
)

// List pages through changes in their order; module/tieback/record.py documents why none is skipped. The
// records are read after the page, so they may be newer; then they are listed again.
func (b *Books) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	f, err := b.company(ctx, q.GetCompanyId())
	if err != nil {
		return nil, err
	}
	if err := knows(q.GetEntity()); err != nil {
		return nil, err
	}
	t, _ := traitOf(q.GetEntity())
	cursor, err := readCursor(q.GetCursor())
	if err != nil {
		return nil, err
	}
	if cursor == "" {
		if err := b.rpc.callWith(ctx, reads, f.context(), nil, "model.tieback.record.adopt", f.id, name(t.entity)); err != nil {
			return nil, err
		}
	}
	var page struct {
		Mappings []*mapping
		More     bool
		Cursor   string
	}
	err = b.rpc.callWith(ctx, reads, f.context(), &page, "model.tieback.record.page", name(t.entity), f.id, cursor, size(q.GetLimit()), only(q))
	if err != nil {
		return nil, err
	}
	changes, err := b.changes(ctx, f, t, page.Mappings)
	if err != nil {
		return nil, err
	}
	return &tiebackv1.ListResponse{Changes: changes, Cursor: writeCursor(page.Cursor), More: page.More}, nil
}

func size(limit int32) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(int(limit), maxPage)
}

// only returns the owners by which the caller filters.
func only(q *tiebackv1.ListRequest) map[string]string {
	out := map[string]string{}
	for column, origin := range map[string]string{"job": q.GetJobOriginId(), "sub_job": q.GetSubJobOriginId(), "parent": q.GetParentOriginId()} {
		if origin != "" {
			out[column] = origin
		}
	}
	return out
}

// changes returns the records of mappings, and tombstones of those that are gone.
func (b *Books) changes(ctx context.Context, f *facts, t trait, mappings []*mapping) ([]*tiebackv1.Change, error) {
	live := map[int64]*mapping{}
	for _, at := range mappings {
		if at.Live {
			live[at.Resource] = at
		}
	}
	records, err := b.records(ctx, f, t, live)
	if err != nil {
		return nil, err
	}
	out := make([]*tiebackv1.Change, len(mappings))
	for i, at := range mappings {
		out[i] = at.tombstone(t.entity)
		if r := records[at.Resource]; r != nil && at.Live {
			out[i] = &tiebackv1.Change{Record: r}
		}
	}
	return out, nil
}

// A cursor is the module's cursor, encoded: a database cluster, two snapshots, and the last change that was
// listed.
func writeCursor(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func readCursor(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = checkCursor(raw)
	}
	if err != nil {
		return "", fault.Refused("cursor", "The cursor %.40q is not one of Tryton's. Start over without a cursor.", s)
	}
	return string(raw), nil
}

func checkCursor(raw []byte) error {
	var parts []json.RawMessage
	var cluster, since, until string
	var last int64
	if err := json.Unmarshal(raw, &parts); err != nil || len(parts) != 4 {
		return fmt.Errorf("want four parts")
	}
	for i, to := range []any{&cluster, &since, &until, &last} {
		if err := json.Unmarshal(parts[i], to); err != nil {
			return err
		}
	}
	for _, s := range []string{since, until} {
		if s != "" && !snapshotForm.MatchString(s) {
			return fmt.Errorf("no snapshot")
		}
	}
	return nil
}
