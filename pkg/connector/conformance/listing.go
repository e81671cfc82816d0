package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// maxPages is the number of pages after which a listing counts as endless.
const maxPages = 20_000

// page lists one page and checks the rules for every page.
func (s *suite) page(ctx context.Context, q *tiebackv1.ListRequest) *tiebackv1.ListResponse {
	q = proto.CloneOf(q)
	q.CompanyId = s.target.Company
	a, err := withRetries(ctx, func() (*tiebackv1.ListResponse, error) { return s.main.List(ctx, proto.CloneOf(q)) })
	check(describe("list of "+connector.Plural(q.Entity), err))
	check(checkPage(q, a))
	return a
}

func checkPage(q *tiebackv1.ListRequest, a *tiebackv1.ListResponse) error {
	most := cmp.Or(int(q.Limit), 1000)
	switch {
	case len(a.Changes) > most:
		return fmt.Errorf("a page has %d records, the limit is %d", len(a.Changes), most)
	case a.More && a.Cursor == q.Cursor:
		return errors.New("the page reports more pages, but its cursor did not advance")
	case a.Cursor == "" && len(a.Changes) > 0:
		return errors.New("a page with records has no cursor, so that the next listing would start over")
	}
	for _, c := range a.Changes {
		if c.GetRecord().GetEntity() != q.Entity || c.Record.OriginId == "" {
			return fmt.Errorf("the list of %s has a record without an entity or an origin id: %v", connector.Plural(q.Entity), c)
		}
	}
	return nil
}

// changes lists all pages from q's cursor on, and returns the last cursor.
func (s *suite) changes(ctx context.Context, q *tiebackv1.ListRequest) (all []*tiebackv1.Change, cursor string) {
	q = proto.CloneOf(q)
	for range maxPages {
		a := s.page(ctx, q)
		all = append(all, a.Changes...)
		q.Cursor = a.Cursor
		if !a.More {
			return all, a.Cursor
		}
	}
	panic(failure{fmt.Errorf("the list of %s does not end", connector.Plural(q.Entity))})
}

// cursor returns the cursor behind the current end of an entity's listing.
func (s *suite) cursor(ctx context.Context, e Entity) string {
	if s.has(e, lists) {
		_, s.cursors[e] = s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: s.cursors[e]})
	}
	return s.cursors[e]
}

// books are the live records of a listing by origin id, for a reader that follows the listing.
type books map[string]*Record

// follow applies changes in order.
func (b books) follow(all []*tiebackv1.Change) {
	for _, c := range all {
		delete(b, c.Record.OriginId)
		if !c.Deleted {
			b[c.Record.OriginId] = c.Record
		}
	}
}

// since returns the records that changed since a cursor and are still in the books.
func (s *suite) since(ctx context.Context, e Entity, cursor string) books {
	all, _ := s.changes(ctx, &tiebackv1.ListRequest{Entity: e, Cursor: cursor})
	b := books{}
	b.follow(all)
	return b
}

// of returns the records with the id or name of r; more than one if r was booked twice.
func (b books) of(r *Record) []*Record {
	var out []*Record
	for _, x := range b {
		if r.ProcoreId != 0 && x.ProcoreId == r.ProcoreId || r.Name != "" && x.Name == r.Name {
			out = append(out, x)
		}
	}
	return out
}

// checkOnce returns an error if a record is not in the books exactly once, with its origin id. It checks
// nothing if the entity is not listed.
func (s *suite) checkOnce(ctx context.Context, cursor string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	if !s.has(q.Record.Entity, lists) {
		return nil
	}
	_, err := s.since(ctx, q.Record.Entity, cursor).exactlyOne(q, b)
	return err
}

// exactlyOne returns the one record of q.
func (b books) exactlyOne(q *tiebackv1.PutRequest, as *tiebackv1.Booking) (*Record, error) {
	of := b.of(q.Record)
	switch {
	case len(of) == 0:
		return nil, fmt.Errorf("%s (Procore id %d) was booked as %s, but the listing does not have it", connector.Describe(q.Record), q.Record.ProcoreId, as.OriginId)
	case len(of) > 1:
		return nil, fmt.Errorf("%s is in the books %d times: %s", connector.Describe(q.Record), len(of), origins(of))
	case of[0].OriginId != as.OriginId:
		return nil, fmt.Errorf("%s was booked as %s, but the listing has it as %s", connector.Describe(q.Record), as.OriginId, of[0].OriginId)
	}
	return of[0], nil
}

// checkAbsent returns an error if a refused record is in the books.
func (s *suite) checkAbsent(ctx context.Context, cursor string, q *tiebackv1.PutRequest) error {
	if !s.has(q.Record.Entity, lists) {
		return nil
	}
	if of := s.since(ctx, q.Record.Entity, cursor).of(q.Record); len(of) > 0 {
		return fmt.Errorf("%s was not booked, but the listing has it as %s", connector.Describe(q.Record), origins(of))
	}
	return nil
}

func origins(all []*Record) string {
	var out []string
	for _, r := range all {
		out = append(out, r.OriginId)
	}
	return strings.Join(out, ", ")
}

// names reports whether a refusal's field is the wanted one, such as "cost_code" or "Cost code of line 2".
func names(field, want string) bool {
	plain := strings.NewReplacer("_", " ", "-", " ")
	return want == "" || strings.Contains(strings.ToLower(plain.Replace(field)), want)
}
