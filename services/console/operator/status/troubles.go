package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/trouble"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// readTroubles reads the troubles that the services have recorded.
func (v *Reading) readTroubles(ctx context.Context) {
	if state.Of(v.bus) == nil {
		v.addUnread("the companies' troubles", errNoState)
		return
	}
	more, err := state.Of(v.bus).Troubles(ctx, v.MaxUnfinished, v.addTrouble)
	if err != nil {
		v.addUnread("the companies' troubles", err)
	}
	if more {
		v.addNote(0, "only %d of the companies' troubles were read", v.MaxUnfinished)
	}
}

// addTrouble adds a trouble to its company. It merges the troubles that several services have recorded of one system.
func (v *Reading) addTrouble(t trouble.Trouble) {
	c := v.company(t.Company)
	next := &operatorv1.Trouble{
		Source: string(t.Source), Reason: string(t.Reason), Class: t.Class.String(), Since: timestamppb.New(t.Since), Last: timestamppb.New(t.Last), Error: t.Error,
	}
	for i, was := range c.Troubles {
		if was.Source != next.Source || (was.Reason == string(fault.Undelivered)) != (t.Reason == fault.Undelivered) {
			continue
		}
		if was.Last.AsTime().After(next.Last.AsTime()) {
			was, next = next, was
		}
		if was.Reason == next.Reason && was.Since.AsTime().Before(next.Since.AsTime()) {
			next.Since = was.Since
		}
		c.Troubles[i] = next
		return
	}
	c.Troubles = append(c.Troubles, next)
}

// addOwnTrouble adds an attempt that failed in Tieback itself. No service records it as a trouble, because no call failed.
func (v *Reading) addOwnTrouble(company int64, a bus.Attempts) {
	if a.Source == "" && a.Class != fault.Throttled {
		found := trouble.Of(company, a.Failure(), a.At)
		found.Since = a.Since
		v.addTrouble(found)
	}
}

// maxListed is the largest number of companies with the same trouble that are listed one by one.
const maxListed = 5

// troubledSystems returns the companies whose systems have failed for TroubleAfter.
func (v *overview) troubledSystems() (all []*operatorv1.Attention) {
	type troubled struct {
		*operatorv1.Trouble
		company *operatorv1.CompanyState
	}
	failures := map[failure][]troubled{}
	for _, c := range v.report.Companies {
		for _, t := range c.Troubles {
			f := failure{fault.Source(t.Source), fault.Reason(t.Reason)}
			if c.Refusal != nil && f.source == fault.FromProcore && f.reason == fault.Denied {
				continue // see refusedCredentials
			}
			waits := t.Class == fault.Throttled.String() && f.reason != fault.NoAnswer
			if !waits && f.reason != fault.Busy && v.at.Sub(t.Since.AsTime()) >= v.TroubleAfter {
				failures[f] = append(failures[f], troubled{t, c})
			}
		}
	}
	for f, some := range failures {
		slices.SortFunc(some, func(a, b troubled) int {
			return cmp.Or(a.Since.AsTime().Compare(b.Since.AsTime()), cmp.Compare(a.company.Id, b.company.Id))
		})
		if len(some) > maxListed {
			var ids []string
			for _, t := range some[:maxListed] {
				ids = append(ids, fmt.Sprint(t.company.Id))
			}
			all = append(all, &operatorv1.Attention{
				Kind: f.kind(), Since: some[0].Since, Count: uint64(len(some)),
				Action: &operatorv1.Action{Kind: ActCompany, Text: "check one of them", Page: "/companies", Command: fmt.Sprintf("tieback doctor --company %d", some[0].company.Id)},
				Text:   fmt.Sprintf("%d companies (%s and others): %s, the first since %s: %s", len(some), strings.Join(ids, ", "), f.text(), v.since(some[0].Since.AsTime()), some[0].Error),
			})
			continue
		}
		for _, t := range some {
			all = append(all, &operatorv1.Attention{
				Kind: f.kind(), CompanyId: t.company.Id, Since: t.Since, Action: doctor(t.company.Id, "check the company"),
				Text: fmt.Sprintf("%s: %s since %s: %s", named(t.company), f.text(), v.since(t.Since.AsTime()), t.Error),
			})
		}
	}
	slices.SortFunc(all, func(a, b *operatorv1.Attention) int { return cmp.Compare(a.Text, b.Text) })
	return all
}

func (v *Reading) since(t time.Time) string {
	return fmt.Sprintf("%s (%v)", stamp(t), v.at.Sub(t).Round(time.Second))
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
