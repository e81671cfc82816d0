package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
)

// Trouble is a system that a company depends on, and that does not do its part.
type Trouble struct {
	Source fault.Source `json:"source"` // erp, procore; "": Tieback itself
	Reason fault.Reason `json:"reason"` // no-answer, denied, unopened, undelivered; "": it answers with errors, or asks to wait
	Class  string       `json:"class"`  // throttled: it goes on by itself
	Since  time.Time    `json:"since"`
	Last   time.Time    `json:"last"` // when it was last seen
	Error  string       `json:"error"`
}

// troubles adds what the services have noted of each company.
func (v *look) troubles(ctx context.Context) {
	if state.Of(v.bus) == nil {
		v.unasked("which companies are in trouble", errors.New("the bucket tieback-state is not to be had"))
		return
	}
	cut, err := state.Of(v.bus).Troubles(ctx, v.Tail, func(t trouble.Trouble) { v.trouble(t) })
	if err != nil {
		v.unasked("which companies are in trouble", err)
	}
	if cut {
		v.note("of the companies' troubles %d were looked at", v.Tail)
	}
}

// trouble adds one to its company, or to what another service says of the same.
func (v *look) trouble(t trouble.Trouble) {
	c := v.company(t.Company)
	next := Trouble{Source: t.Source, Reason: t.Reason, Class: t.Class.String(), Since: t.Since.UTC(), Last: t.Last.UTC(), Error: t.Error}
	for i, was := range c.Troubles {
		if was.Source != t.Source || (was.Reason == fault.Undelivered) != (t.Reason == fault.Undelivered) {
			continue
		}
		if was.Last.After(next.Last) {
			was, next = next, was
		}
		if was.Reason == next.Reason && was.Since.Before(next.Since) {
			next.Since = was.Since
		}
		c.Troubles[i] = next
		return
	}
	c.Troubles = append(c.Troubles, next)
}

// ours notes an attempt that failed in Tieback itself: no call of a system says so.
func (v *look) ours(company int64, a bus.Attempts) {
	if a.Source == "" && a.Class != fault.Throttled {
		found := trouble.Of(company, a.Failure(), a.At)
		found.Since = a.Since
		v.trouble(found)
	}
}

// fewCompanies is up to how many are told one by one.
const fewCompanies = 5

// inTrouble says which companies' systems do not do their part, and what to do.
func (v *look) inTrouble() (needs []string) {
	type kind struct {
		source fault.Source
		reason fault.Reason
	}
	type one struct {
		Trouble
		company Company
	}
	kinds := map[kind][]one{}
	for _, c := range v.report.Companies {
		for _, t := range c.Troubles {
			if c.Refusal != nil && t.Source == fault.FromProcore && t.Reason == fault.Denied {
				continue // refusals says so
			}
			waits := t.Class == fault.Throttled.String() && t.Reason != fault.NoAnswer
			if !waits && t.Reason != fault.Busy && v.at.Sub(t.Since) >= v.Passes {
				kinds[kind{t.Source, t.Reason}] = append(kinds[kind{t.Source, t.Reason}], one{t, c})
			}
		}
	}
	for k, all := range kinds {
		slices.SortFunc(all, func(a, b one) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.company.ID, b.company.ID)) })
		if len(all) > fewCompanies {
			var ids []string
			for _, o := range all[:fewCompanies] {
				ids = append(ids, fmt.Sprint(o.company.ID))
			}
			needs = append(needs, fmt.Sprintf("%d companies (%s and others): %s, of the first since %s: %s: tieback doctor --company %d",
				len(all), strings.Join(ids, ", "), wrong(k.source, k.reason), v.since(all[0].Since), all[0].Error, all[0].company.ID))
			continue
		}
		for _, o := range all {
			needs = append(needs, fmt.Sprintf("company %d%s: %s since %s: %s: tieback doctor --company %d",
				o.company.ID, named(o.company.Name), wrong(k.source, k.reason), v.since(o.Since), o.Error, o.company.ID))
		}
	}
	slices.Sort(needs)
	return needs
}

func (v *look) since(t time.Time) string {
	return fmt.Sprintf("%s (%v)", t.Local().Format(time.DateTime), v.at.Sub(t).Round(time.Second))
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

// wrong is a trouble in words for the operator, to be followed by its time.
func wrong(source fault.Source, reason fault.Reason) string {
	system := map[fault.Source]string{fault.FromERP: "its ERP has ", fault.FromProcore: "Procore has "}[source]
	switch {
	case reason == fault.Undelivered:
		return "Procore's deliveries have not reached ingest"
	case reason == fault.Unopened:
		return "its connector has refused its settings"
	case reason == fault.Damaged:
		return "its ERP's books have been damaged"
	case system == "":
		return "attempts have failed in Tieback itself"
	case reason == fault.NoAnswer:
		return system + "not answered"
	case reason == fault.Denied:
		return system + "refused our credentials, or a permission,"
	}
	return system + "answered with errors"
}
