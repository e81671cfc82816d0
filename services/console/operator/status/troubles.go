package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
)

// Trouble is a system that a company depends on and that fails.
type Trouble struct {
	Source fault.Source `json:"source"` // erp, procore; "": Tieback itself
	Reason fault.Reason `json:"reason"` // no-answer, denied, unopened, undelivered, …; "": it answers with errors, or asks to wait
	Class  string       `json:"class"`  // throttled: it ends by itself
	Since  time.Time    `json:"since"`
	Last   time.Time    `json:"last"`
	Error  string       `json:"error"`
}

// readTroubles reads the troubles that the services have recorded.
func (v *reading) readTroubles(ctx context.Context) {
	if state.Of(v.bus) == nil {
		v.unread("the companies' troubles", errNoState)
		return
	}
	more, err := state.Of(v.bus).Troubles(ctx, v.MaxUnfinished, v.addTrouble)
	if err != nil {
		v.unread("the companies' troubles", err)
	}
	if more {
		v.note("only %d of the companies' troubles were read", v.MaxUnfinished)
	}
}

// addTrouble adds a trouble to its company. It merges the troubles that several services have recorded of one system.
func (v *reading) addTrouble(t trouble.Trouble) {
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

// addOwnTrouble adds an attempt that failed in Tieback itself. No service records it as a trouble, because no call failed.
func (v *reading) addOwnTrouble(company int64, a bus.Attempts) {
	if a.Source == "" && a.Class != fault.Throttled {
		found := trouble.Of(company, a.Failure(), a.At)
		found.Since = a.Since
		v.addTrouble(found)
	}
}

// maxListed is the largest number of companies with the same trouble that are listed one by one.
const maxListed = 5

// troubledSystems returns the companies whose systems have failed for TroubleAfter.
func (v *reading) troubledSystems() (all []Attention) {
	type troubled struct {
		Trouble
		company Company
	}
	failures := map[failure][]troubled{}
	for _, c := range v.report.Companies {
		for _, t := range c.Troubles {
			if c.Refusal != nil && t.Source == fault.FromProcore && t.Reason == fault.Denied {
				continue // see refusedCredentials
			}
			waits := t.Class == fault.Throttled.String() && t.Reason != fault.NoAnswer
			if !waits && t.Reason != fault.Busy && v.at.Sub(t.Since) >= v.TroubleAfter {
				failures[failure{t.Source, t.Reason}] = append(failures[failure{t.Source, t.Reason}], troubled{t, c})
			}
		}
	}
	for f, some := range failures {
		slices.SortFunc(some, func(a, b troubled) int {
			return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.company.ID, b.company.ID))
		})
		if len(some) > maxListed {
			var ids []string
			for _, t := range some[:maxListed] {
				ids = append(ids, fmt.Sprint(t.company.ID))
			}
			all = append(all, Attention{
				Kind: f.kind(), Since: some[0].Since, Count: uint64(len(some)), Action: fmt.Sprintf("tieback doctor --company %d", some[0].company.ID),
				Text: fmt.Sprintf("%d companies (%s and others): %s, the first since %s: %s", len(some), strings.Join(ids, ", "), f.text(), v.since(some[0].Since), some[0].Error),
			})
			continue
		}
		for _, t := range some {
			name := ""
			if t.company.Name != "" {
				name = " (" + t.company.Name + ")"
			}
			all = append(all, Attention{
				Kind: f.kind(), Company: t.company.ID, Since: t.Since, Action: fmt.Sprintf("tieback doctor --company %d", t.company.ID),
				Text: fmt.Sprintf("company %d%s: %s since %s: %s", t.company.ID, name, f.text(), v.since(t.Since), t.Error),
			})
		}
	}
	slices.SortFunc(all, func(a, b Attention) int { return cmp.Compare(a.Text, b.Text) })
	return all
}

func (v *reading) since(t time.Time) string {
	return fmt.Sprintf("%s (%v)", t.Local().Format(time.DateTime), v.at.Sub(t).Round(time.Second))
}

// failure is a way in which a system fails.
type failure struct {
	source fault.Source
	reason fault.Reason
}

// kind returns the failure's kind of Attention.
func (f failure) kind() string {
	switch {
	case f.reason == fault.Undelivered:
		return KindHook
	case f.source == fault.FromERP:
		return KindERP
	case f.source == fault.FromProcore:
		return KindProcore
	}
	return KindTieback
}

// text describes the failure. A time with "since" follows it.
func (f failure) text() string {
	system := map[fault.Source]string{fault.FromERP: "its ERP has ", fault.FromProcore: "Procore has "}[f.source]
	switch {
	case f.reason == fault.Undelivered:
		return "Procore's deliveries have not reached ingest"
	case f.reason == fault.Unopened:
		return "its connector has refused its settings"
	case f.reason == fault.Damaged:
		return "its ERP's books have been damaged"
	case system == "":
		return "attempts have failed in Tieback itself"
	case f.reason == fault.NoAnswer:
		return system + "not answered"
	case f.reason == fault.Denied:
		return system + "refused our credentials, or a permission,"
	}
	return system + "answered with errors"
}
