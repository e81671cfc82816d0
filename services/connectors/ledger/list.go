package ledger

import (
	"context"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	pageDefault = 500
	pageMax     = 1000
)

// List returns a page of the changes of an entity. Every write gives its record a higher number, in the order of commits,
// and a cursor is the last number listed. So a record that changes during paging is listed again on a later page, and
// none is skipped. A cursor from other books is refused.
func (b *Books) List(ctx context.Context, req *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	if err := b.mine(req.GetCompanyId()); err != nil {
		return nil, err
	}
	after, err := b.cursor(ctx, req.GetCursor())
	if err != nil {
		return nil, err
	}
	limit := page(req.GetLimit())
	rows, err := b.changes(ctx, req, after, limit+1)
	if err != nil {
		return nil, err
	}
	res := &tiebackv1.ListResponse{More: len(rows) > limit}
	for _, r := range rows[:min(limit, len(rows))] {
		res.Changes = append(res.Changes, r.change())
		after = r.seq
	}
	res.Cursor = strconv.FormatInt(after, 36)
	return res, nil
}

func page(limit int32) int {
	if limit <= 0 {
		return pageDefault
	}
	return min(int(limit), pageMax)
}

// cursor reads a cursor. One that is higher than the last change is from other books, or from before a restore.
func (b *Books) cursor(ctx context.Context, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 36, 64)
	if err == nil && n >= 0 {
		var last int64
		if err := b.reader.QueryRowContext(ctx, "SELECT coalesce(max(n), 0) FROM counters WHERE name = 'seq'").Scan(&last); err != nil {
			return 0, b.failed(err)
		}
		if n <= last {
			return n, nil
		}
	}
	return 0, fault.Refused("cursor", "The cursor %q is not one of this ledger. Start over without a cursor.", s)
}

func (b *Books) changes(ctx context.Context, req *tiebackv1.ListRequest, after int64, limit int) ([]*row, error) {
	where, args := []string{"r.entity = ?", "r.seq > ?"}, []any{int(req.GetEntity()), after}
	for _, f := range []struct{ column, value string }{
		{"r.job", req.GetJobOriginId()}, {"r.sub_job", req.GetSubJobOriginId()}, {"r.parent", req.GetParentOriginId()},
	} {
		if f.value != "" {
			where, args = append(where, f.column+" = ?"), append(args, f.value)
		}
	}
	return b.rows(ctx, strings.Join(where, " AND ")+" ORDER BY r.seq LIMIT ?", append(args, limit)...)
}

// rows reads the records of a condition.
func (b *Books) rows(ctx context.Context, where string, args ...any) ([]*row, error) {
	rows, err := b.reader.QueryContext(ctx, "SELECT "+rowColumns+" FROM records r WHERE "+where, args...)
	if err != nil {
		return nil, b.failed(err)
	}
	defer rows.Close()
	var out []*row
	for rows.Next() {
		r, err := scanRow(rows)
		if err != nil {
			return nil, b.failed(err)
		}
		out = append(out, r)
	}
	return out, b.failed(rows.Err())
}
