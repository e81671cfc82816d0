// Package links lists the links between Procore's records and the ERP's, which are stored in the bucket tieback-state, and
// rebuilds them from Procore. Procore is authoritative: it has the origin id of each
// synced record.
//
//	Procore has  the bucket has         a rebuild                          with Force
//	──────────── ────────────────────── ────────────────────────────────── ──────────────────────────
//	A            nothing                saves A, without a request         the same
//	A            A                      leaves it                          the same
//	A            B, or an ended link    reports both                       saves A, with B's request
//	null         B                      reports it                         ends the link, with B's request
//	no record    B, of the company      reports it, if all lists that      ends the link, with B's
//	                                    could have it were read            request
//	no record    B, of a project        leaves it                          the same
//	no origin_id B                      leaves it                          the same
//
// A project's record that no list shows may belong to a project that is not permitted to the app.
// A response without the key origin_id, as in some views, does not say whether there is a link.
//
// A rebuilt link has the ERP request of the link that it replaces, if there was one. By the rule of Store.SaveLink,
// a link that a newer ERP request saves during or after the rebuild wins. The bucket is read before Procore, so that
// a link that is saved during the rebuild is not reported as gone.
//
// A rebuild restores links only. Generations are stored nowhere but in the bucket. Cursors need no rebuild:
// without one, the next sync starts from the beginning.
package links

import (
	"context"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// Session reads Procore's lists, as procore.Session does.
type Session interface {
	List(ctx context.Context, c procore.Call) iter.Seq2[map[string]any, error]
}

// Retry returns how a rebuild's session repeats its calls. It waits for rate limits without limit, requests a page up to six
// times at intervals of 1, 2, 4, 8 and 16 seconds, and leaves half of the rate limit to the services. It calls waiting
// before each wait.
func Retry(waiting func(d time.Duration, why string)) procore.Retry {
	return procore.Retry{
		Attempts: 6, Limits: procore.Forever, Reserve: func(limit int) int { return limit / 2 },
		Waiting: func(d time.Duration, why string) error { waiting(d, why); return nil },
	}
}

// Store stores links, as state.State does.
type Store interface {
	AllLinks(ctx context.Context, company int64) (map[state.Linked]state.Link, error)
	SaveLink(ctx context.Context, company int64, itemType string, itemID int64, l state.Link) error
}

// Options say which links are rebuilt, and how.
type Options struct {
	Company *company.Company
	Force   bool // also change and end links
	DryRun  bool // change nothing
}

// saves is how many links are saved at once. They share commits.
const saves = 256

// Rebuild reads all lists of the company's records and saves the links that they show. A list that Procore refuses is in the
// report's Unread, and the links that it may have shown are unchanged.
//
// Any other error ends the rebuild, with a report of what was found so far: use a session that repeats its calls, see Retry.
// Nothing is saved before all lists are read. After an error while saving, repeat the rebuild.
func Rebuild(ctx context.Context, session Session, store Store, o Options) (*operatorv1.LinkReport, error) {
	report := &operatorv1.LinkReport{CompanyId: o.Company.ID, Saved: !o.DryRun, Force: o.Force}
	known, err := store.AllLinks(ctx, o.Company.ID)
	if err != nil {
		return report, err
	}
	r := newReader(session, o, known)
	err = r.readAll(ctx)
	report.Lists, report.Unread, report.WithoutLines, report.HiddenProjects = int32(len(r.done)), r.unread, r.noLines, r.hiddenProjects //nolint:gosec // a count
	r.compare(report)
	if err != nil || o.DryRun {
		return report, err
	}
	return report, r.save(ctx, store, report)
}

func (r *reader) save(ctx context.Context, store Store, report *operatorv1.LinkReport) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(saves)
	for _, c := range report.Changes {
		if c.Kind != New && !report.Force {
			continue
		}
		g.Go(func() error {
			err := store.SaveLink(ctx, report.CompanyId, c.ItemType, c.ItemId, state.Link{OriginID: c.ProcoreOriginId, Order: r.known[state.Linked{ItemType: c.ItemType, ItemID: c.ItemId}].Order})
			c.Saved = err == nil
			return err
		})
	}
	return g.Wait()
}

// compare lists how Procore and the bucket differ.
func (r *reader) compare(report *operatorv1.LinkReport) {
	same, unchecked := map[string]int32{}, map[string]int32{}
	for rec, has := range r.found {
		known, some := r.known[rec]
		c := &operatorv1.LinkChange{Kind: Different, ItemType: rec.ItemType, ItemId: rec.ItemID, StoredOriginId: known.OriginID, ProcoreOriginId: has.origin}
		switch {
		case has.origin == "" && known.OriginID == "":
			continue
		case has.silent:
			unchecked[rec.ItemType]++
			continue
		case has.origin == known.OriginID:
			same[rec.ItemType]++
			continue
		case has.origin == "":
			c.Kind = Gone
		case !some:
			c.Kind = New
		}
		report.Changes = append(report.Changes, c)
	}
	for rec, known := range r.known {
		_, seen := r.found[rec]
		switch {
		case seen || known.OriginID == "":
		case r.whole(rec.ItemType) && ofWholeCompany(rec.ItemType):
			report.Changes = append(report.Changes, &operatorv1.LinkChange{Kind: Gone, ItemType: rec.ItemType, ItemId: rec.ItemID, StoredOriginId: known.OriginID})
		default:
			unchecked[rec.ItemType]++
		}
	}
	sum(report, same, unchecked)
}
