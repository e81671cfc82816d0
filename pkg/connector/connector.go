// Package connector is the contract between Tieback and an ERP: the type ERP, which Tieback calls and which is the
// same for every ERP, and the Driver, which an integrator implements for one ERP.
//
// The type ERP validates records, makes keys, looks bookings up after an ambiguous answer, retries calls by error
// class, and limits, measures and logs them. A driver only translates the calls for its ERP. It never retries,
// sleeps or logs. README.md is the guide for integrators.
package connector

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Driver is the ERP of one company. All methods may be called concurrently. Errors are classed with package
// fault. An unclassified error of Put or Remove counts as ambiguous, one of any other method as transient.
// The messages and the guarantees of each call are documented in proto/tieback/v1/connector.proto.
type Driver interface {
	Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error)
	// Put books a record, or changes one. Two calls with the same key make one booking; the second answer
	// equals the first. A change is refused with the field "request" if Superseded says so.
	Put(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error)
	// Find looks a booking up by key. A response without a booking means that the key was never booked.
	Find(context.Context, *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error)
	List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error)
	State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error)
	// Remove removes a record from the books. Removing it again is not an error. It is refused with the field
	// "request" if Superseded says so.
	Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error)
	// Close is called once, after the last call has returned.
	Close() error
}

// Opener opens the ERP of a company from its settings, the connector section of the companies file. It
// returns an error that names the field if a setting is invalid.
type Opener func(ctx context.Context, companyID int64, settings map[string]string) (Driver, error)

// Drivers are the drivers built into a program, by name.
type Drivers map[string]Opener

// Key returns the key of a record's booking. It is stable within a generation: a retry, a redelivery or a
// replay of an export has the same key, an export after an unlink or a reset has another. generation is the
// order of the ERP request that started it, or "" for the first generation. The key ends in the id of that request, or in 0, and
// not in its time, which may be known in microseconds once and later only in seconds.
func Key(company int64, entity tiebackv1.Entity, procoreID int64, generation order.Key) string {
	return fmt.Sprintf("%d/%d/%d/%d", company, entity, procoreID, generation.Request())
}

// Superseded reports whether a driver must refuse a Put that changes a record, or a Remove, because a newer request, or
// one made in the same second, wrote the record. latest is the highest OrderLatest of the requests that wrote it; the
// driver stores it with the record, and checks and changes it in the transaction of the write. A request never supersedes
// itself, even if the time at which it was created was known more precisely before.
func Superseded(latest string, q interface {
	GetOrder() string
	GetOrderLatest() string
}) bool {
	return q.GetOrder() != "" && q.GetOrder() < latest && !order.Key(q.GetOrder()).Same(order.Key(latest))
}

// AssignmentID returns the origin id of a cost type assignment and of its job cost, in every ERP: the origin
// ids of its cost code and category. When an assignment is deleted, Procore names it only by these.
func AssignmentID(costCode, category string) string { return costCode + "|" + category }
