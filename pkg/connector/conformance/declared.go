package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func capabilities(ctx context.Context, s *suite) error {
	again, err := s.main.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: s.target.Company})
	if err != nil {
		return err
	}
	if !proto.Equal(again, s.caps) {
		return fmt.Errorf("they were {%v} and are now {%v}", s.caps, again)
	}
	if s.caps.Name == "" {
		return errors.New("the ERP has no name; messages to accountants need it")
	}
	if s.caps.MaxConcurrent < 0 {
		return fmt.Errorf("max_concurrent is %d", s.caps.MaxConcurrent)
	}
	if c := s.caps.Currency; c != "" && !isoCode.MatchString(c) {
		return fmt.Errorf("the company's currency is %q, which is not an ISO code such as USD", c)
	}
	seen := map[Entity]bool{}
	for _, c := range s.caps.Entities {
		if c.Currency && s.caps.Currency == "" {
			return fmt.Errorf("the %s takes other currencies, but the connector does not declare the company's own", connector.Noun(c.Entity))
		}
		if _, known := tiebackv1.Entity_name[int32(c.Entity)]; !known || c.Entity == 0 {
			return fmt.Errorf("the declared entity %v is not in the contract", c.Entity)
		}
		if seen[c.Entity] {
			return fmt.Errorf("the %s is declared twice", connector.Noun(c.Entity))
		}
		seen[c.Entity] = true
	}
	return nil
}

// everyEntity makes every declared call for a record of each entity.
func everyEntity(ctx context.Context, s *suite) error {
	var checks []error
	for _, e := range s.with(func(*can) bool { return true }, simplest) {
		err := catch(func() error { return s.tryEntity(ctx, e) })
		checks = append(checks, describe(connector.Noun(e), cmp.Or(err, ctx.Err())))
		if ctx.Err() != nil {
			return errors.Join(checks...)
		}
	}
	if len(checks) == 0 {
		return leaveOut("the connector declares nothing")
	}
	return findings(checks)
}

func (s *suite) tryEntity(ctx context.Context, e Entity) error {
	c := s.cans[e]
	from := s.cursor(ctx, e) // a declared list must work
	if c.State {
		if err := s.checkState(ctx, e, "unknown-"+s.target.Unique, unknown); err != nil {
			return err
		}
	}
	if !c.Put || e == jobCost { // job costs result from bookings: Procore exports none
		return nil
	}
	q, b := s.book(ctx, e)
	if want := connector.AssignmentID(q.Record.CostCodeOriginId, q.Record.CategoryOriginId); e == assignment && b.OriginId != want {
		return fmt.Errorf("its origin id is %q; in every ERP it must be that of its cost code and category, %q", b.OriginId, want)
	}
	if err := errors.Join(distinct(b.LineOriginIds), s.checkFound(ctx, q, b), s.checkOnce(ctx, from, q, b)); err != nil {
		return err
	}
	return errors.Join(s.checkReferences(ctx, from, q, b), s.checkUpdate(ctx, from, q, b), s.checkRemoval(ctx, q, b))
}

// checkReferences returns an error if a listed record has other references than the put.
func (s *suite) checkReferences(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	if !s.cans[q.Record.Entity].List {
		return nil
	}
	got, sent := s.since(ctx, q.Record.Entity, from)[b.OriginId], q.Record
	if got == nil {
		return nil
	}
	for _, f := range []struct{ what, got, sent string }{
		{"job", got.JobOriginId, sent.JobOriginId}, {"vendor", got.VendorOriginId, sent.VendorOriginId},
		{"contract", got.ContractOriginId, sent.ContractOriginId}, {"parent", got.ParentOriginId, sent.ParentOriginId},
		{"cost code", got.CostCodeOriginId, sent.CostCodeOriginId}, {"category", got.CategoryOriginId, sent.CategoryOriginId},
		{"code", got.Code, sent.Code},
	} {
		if f.sent != "" && f.got != f.sent {
			return fmt.Errorf("its %s was booked as %q, but the listing has %q", f.what, f.sent, f.got)
		}
	}
	if len(sent.Lines) == 0 {
		return nil
	}
	return compare(got, sent, b.LineOriginIds)
}

func (s *suite) checkUpdate(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	if !s.cans[q.Record.Entity].Update {
		return nil
	}
	change := s.changeOf(q, b, s.request(), func(r *Record) {
		if r.Name != "" {
			r.Name += " changed"
		}
	})
	got, err := s.tryPut(ctx, s.main, change)
	switch {
	case err != nil:
		return fmt.Errorf("changed in place: %w", err)
	case got.OriginId != b.OriginId:
		return fmt.Errorf("%s was changed in place, and the answer names %s", b.OriginId, got.OriginId)
	}
	return errors.Join(s.checkFound(ctx, change, got), s.checkOnce(ctx, from, change, b))
}

func (s *suite) checkRemoval(ctx context.Context, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	e, c := q.Record.Entity, s.cans[q.Record.Entity]
	if c.State {
		if err := s.checkState(ctx, e, b.OriginId, present); err != nil {
			return err
		}
	}
	if !c.Remove {
		return nil
	}
	if err := s.tryRemove(ctx, e, b.OriginId); err != nil || !c.State {
		return err
	}
	return s.checkState(ctx, e, b.OriginId, deleted)
}

// later is an entity of a future version of the contract.
const later Entity = 99

// undeclared makes the calls that the connector does not declare.
func undeclared(ctx context.Context, s *suite) error {
	var errs []error
	for _, e := range append(simplest[:len(simplest):len(simplest)], later) {
		c := s.cans[e]
		switch {
		case e == later:
			c = &can{List: true, State: true, Remove: true} // any answer is accepted
		case c == nil:
			c = &can{}
		}
		r := &Record{Entity: e, ProcoreId: s.id(), Name: s.target.Unique + " undeclared", Code: s.target.Unique + "-U"}
		q := s.putOf(r)
		errs = append(errs, declines(c.Put, e, "put", func() error {
			_, err := s.main.Put(ctx, clone(q))
			return err
		}))
		if !c.Put {
			errs = append(errs, s.checkUndeclaredPut(ctx, q))
		}
		errs = append(errs, declines(c.List, e, "list", func() error {
			_, err := s.main.List(ctx, &tiebackv1.ListRequest{CompanyId: s.target.Company, Entity: e})
			return err
		}), declines(c.State, e, "state", func() error {
			_, err := s.main.State(ctx, &tiebackv1.StateRequest{CompanyId: s.target.Company, Entity: e, OriginId: "none"})
			return err
		}), declines(c.Remove, e, "remove", func() error {
			_, err := s.main.Remove(ctx, &tiebackv1.RemoveRequest{CompanyId: s.target.Company, Entity: e, OriginId: "none", Key: q.Key})
			return err
		}))
		if c.Put && !c.Update && slices.Contains(named, e) {
			if err := catch(func() error { return s.checkUndeclaredChange(ctx, e) }); !isLeftOut(err) {
				errs = append(errs, err)
			}
		}
	}
	return few(errs)
}

// findingsMax is the maximum number of findings of one kind in a message.
const findingsMax = 3

// few joins the first errors and counts the others.
func few(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if more := len(errs) - findingsMax; more > 0 {
		errs = append(errs[:findingsMax:findingsMax], fmt.Errorf("… and %d more", more))
	}
	return errors.Join(errs...)
}

// checkUndeclaredPut returns an error if an undeclared put made a booking. A connector that looks up only
// keys of its own entities may refuse to look up this one.
func (s *suite) checkUndeclaredPut(ctx context.Context, q *tiebackv1.PutRequest) error {
	if found, err := s.tryFind(ctx, q); err == nil && found != nil {
		return fmt.Errorf("put of %s is not declared, but Find finds it booked as %s", aNoun(q.Record.Entity), found.OriginId)
	}
	return nil
}

func declines(declared bool, e Entity, what string, call func() error) error {
	if declared {
		return nil
	}
	if err := call(); fault.ClassOf(err) != fault.Permanent {
		return fmt.Errorf("%s of %s is not declared; it must be refused permanently, but the answer was: %w", what, aNoun(e), answerOf(err))
	}
	return nil
}

func answerOf(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return fmt.Errorf("%s: %w", fault.ClassOf(err), err)
}

// checkUndeclaredChange changes a record of an entity that takes only new ones.
func (s *suite) checkUndeclaredChange(ctx context.Context, e Entity) error {
	from := s.cursor(ctx, e)
	q, b := s.book(ctx, e)
	change := s.changeOf(q, b, s.request(), func(r *Record) { r.Name += " changed" })
	_, err := s.putOnce(ctx, change)
	if err := refused(err, ""); err != nil {
		return fmt.Errorf("a change of %s is not declared: %w", aNoun(e), err)
	}
	return errors.Join(s.checkNotBooked(ctx, change), s.checkOnce(ctx, from, q, b))
}

// otherCompany looks for a record of one company in the books of another.
func otherCompany(ctx context.Context, s *suite) error {
	if s.target.Other == 0 {
		return leaveOut("the target names no other company that the connector serves")
	}
	e := s.pickPut()
	q, b := s.book(ctx, e)
	other := s.target.Other
	if found, err := s.main.Find(ctx, &tiebackv1.FindRequest{CompanyId: other, Key: q.Key, Entity: e}); err == nil && found.GetBooking() != nil {
		return fmt.Errorf("the key of company %d is found in the books of company %d", s.target.Company, other)
	}
	if !s.cans[e].List {
		return nil
	}
	for cursor := ""; ; {
		page, err := s.main.List(ctx, &tiebackv1.ListRequest{CompanyId: other, Entity: e, Cursor: cursor})
		if err != nil || page == nil {
			return nil // this driver can't read another company's books
		}
		for _, c := range page.Changes {
			if c.GetRecord().GetOriginId() == b.OriginId && c.Record.Name == q.Record.Name {
				return fmt.Errorf("%s of company %d is listed for company %d", b.OriginId, s.target.Company, other)
			}
		}
		if cursor = page.Cursor; !page.More {
			return nil
		}
	}
}
