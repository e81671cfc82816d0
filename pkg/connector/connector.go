// Package connector is the contract between Tieback and an ERP: a portable type that
// Tieback calls, and the Driver that an integrator writes.
//
// The portable side validates, keys, looks up after an ambiguous answer, makes calls again by
// class, limits them, measures and logs. A driver only speaks its ERP's dialect: it never
// retries, sleeps or logs. README.md is the guide for whoever writes one.
package connector

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Driver is one company's ERP. All methods may be called concurrently. Errors are
// classed with package fault; one of Put or Remove that is not classed is taken to be
// ambiguous, one of the others transient. The messages, and what each call promises, are
// those of proto/tieback/v1/connector.proto.
type Driver interface {
	Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error)
	// Put books a record, or changes one. The same key twice is one booking; the second answer
	// equals the first. A change of a lower order than the record's last is refused, with the field "request".
	Put(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error)
	// Find looks a booking up by key; no booking in the answer: never booked.
	Find(context.Context, *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error)
	List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error)
	State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error)
	// Remove takes a record out of the books; removing it again is no error. What a newer
	// request changed stays, and the refusal has the field "request".
	Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error)
	// Close is called once, after the last call has returned.
	Close() error
}

// Opener opens a company's ERP from its settings, the connector section of the companies file.
// Settings that make no sense are refused with an error that names the field.
type Opener func(ctx context.Context, companyID int64, settings map[string]string) (Driver, error)

// Drivers are the drivers that a program was built with, by name.
type Drivers map[string]Opener

// Key is stable for a record and its life: a retry, a redelivery or a replay of an export
// has the same key, an export after an unlink or a reset another. Generation is the order of the
// ERP request that ended the last one; "" in the first, where the key ends in 0.
func Key(company int64, entity tiebackv1.Entity, procoreID int64, life order.Key) string {
	return fmt.Sprintf("%d/%d/%d/%s", company, entity, procoreID, cmp.Or(life, "0"))
}

// AssignmentID is the origin id of a cost type assignment and of its job cost, in every ERP:
// the origin ids of the cost code and the category that it joins. Procore names an
// assignment that was deleted by nothing else.
func AssignmentID(costCode, category string) string { return costCode + "|" + category }
