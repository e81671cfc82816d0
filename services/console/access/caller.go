// Package access says who calls the console, and what the caller may see and do.
//
// A Gate is the middleware before the pages and the API. It signs people in with OpenID Connect, with a token, or with a
// one-time link on loopback, and programs with a token in the Authorization header. It puts a Caller into the context of
// each request. The handlers of the API ask it:
//
//	if !access.From(ctx).May(access.Act, company) {
//		return nil, connect.NewError(connect.CodePermissionDenied, …)
//	}
//
// The file TIEBACK_CONSOLE_ACCESS says who has which role; see File.
package access

import (
	"context"
	"fmt"
	"slices"
)

// Action is what a caller wants to do.
type Action int

// The actions.
const (
	See        Action = iota + 1 // read lists, timelines, checks and previews without payloads
	SeePayload                   // read what Procore sent, which may be personal data
	Act                          // replay, edit, discard, try now, pause, sweep
)

// Role is viewer or operator. An operator may also do what a viewer may do.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// Grant gives a role for some companies. The zero value gives nothing.
type Grant struct {
	Role      Role
	All       bool    // for all companies; Companies is not used
	Companies []int64 // ids
	Payloads  bool    // payloads may be seen
}

// allows reports whether the grant allows an action for the companies that it covers.
func (g Grant) allows(a Action) bool {
	switch a {
	case See:
		return g.Role == Viewer || g.Role == Operator
	case SeePayload:
		return g.Payloads && (g.Role == Viewer || g.Role == Operator)
	case Act:
		return g.Role == Operator
	}
	return false
}

// Caller is a person or a program. The zero value may do nothing. All methods may be called concurrently.
type Caller struct {
	Name   string // recorded with what the caller does; "": not signed in
	grants []Grant
}

// NewCaller returns a caller.
func NewCaller(name string, grants ...Grant) Caller { return Caller{name, grants} }

// Owner returns a caller that may see and do everything: the user of the machine on which the one process runs.
func Owner(name string) Caller {
	return NewCaller(name, Grant{Role: Operator, All: true, Payloads: true})
}

// May reports whether the caller may do something that concerns a company. Company 0 means all companies.
func (c Caller) May(a Action, company int64) bool {
	for _, g := range c.grants {
		if g.allows(a) && (g.All || company != 0 && slices.Contains(g.Companies, company)) {
			return true
		}
	}
	return false
}

// Companies returns the ids of the companies for which the caller may do something, sorted, or all.
func (c Caller) Companies(a Action) (ids []int64, all bool) {
	for _, g := range c.grants {
		if !g.allows(a) {
			continue
		}
		if g.All {
			return nil, true
		}
		ids = append(ids, g.Companies...)
	}
	slices.Sort(ids)
	return slices.Compact(ids), false
}

// MayAny reports whether the caller may do something for at least one company.
func (c Caller) MayAny(a Action) bool {
	ids, all := c.Companies(a)
	return all || len(ids) > 0
}

// String returns the name and the grants, for the log.
func (c Caller) String() string { return fmt.Sprintf("%s %+v", c.Name, c.grants) }

// Rights returns a text that is the same for callers that may see and do the same.
func (c Caller) Rights() string { return fmt.Sprintf("%+v", c.grants) }

type callerKey struct{}

// With returns a context with the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the context's caller, or the zero value if there is none.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
