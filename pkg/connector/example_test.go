package connector_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// acme is a driver that only takes new vendors. It keeps its books in memory.
type acme struct {
	mu       sync.Mutex
	bookings map[string]*tiebackv1.Booking // by key
}

func (a *acme) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{
		Name: "Acme Books", Entities: []*tiebackv1.EntityCapability{{Entity: tiebackv1.Entity_ENTITY_VENDOR, Put: true}},
	}, nil
}

// Put books one record per key.
func (a *acme) Put(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.bookings[q.Key]; b != nil {
		return &tiebackv1.PutResponse{Booking: b}, nil
	}
	if q.Record.Name == "" {
		return nil, fault.Refused("name", "The vendor has no name. Enter it in Procore, then export the vendor again.")
	}
	b := &tiebackv1.Booking{OriginId: fmt.Sprintf("V-%d", len(a.bookings)+1), Stamp: q.Stamp}
	a.bookings[q.Key] = b
	return &tiebackv1.PutResponse{Booking: b}, nil
}

func (a *acme) Find(_ context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &tiebackv1.FindResponse{Booking: a.bookings[q.Key]}, nil
}

func (a *acme) List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return nil, fault.Permanentf("Acme Books lists nothing.")
}

func (a *acme) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return nil, fault.Permanentf("Acme Books reports no states.")
}

func (a *acme) Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return nil, fault.Permanentf("Acme Books removes nothing.")
}

func (a *acme) Close() error { return nil }

// firstGeneration is a connector.Generations without any unlink or reset.
type firstGeneration struct{}

func (firstGeneration) Generation(context.Context, int64, string, int64) (order.Key, error) {
	return "", nil
}

func (firstGeneration) NextGeneration(context.Context, int64, string, int64, order.Key) error {
	return nil
}

// A driver implements the calls of one ERP. Tieback calls it through an ERP, which refuses what the driver does not declare.
func ExampleDriver() {
	var driver connector.Driver = &acme{bookings: map[string]*tiebackv1.Booking{}}
	erp := connector.New(driver, connector.Config{Company: 7, Generations: firstGeneration{}})
	for _, r := range []*tiebackv1.Record{
		{Entity: tiebackv1.Entity_ENTITY_VENDOR, ProcoreId: 35, Name: "Bolt Supply"},
		{Entity: tiebackv1.Entity_ENTITY_VENDOR, ProcoreId: 35, Name: "Bolt Supply"}, // the same event again
		{Entity: tiebackv1.Entity_ENTITY_VENDOR, ProcoreId: 36},
		{Entity: tiebackv1.Entity_ENTITY_JOB, ProcoreId: 37, Name: "Tower"},
	} {
		booking, err := erp.Book(context.Background(), connector.RequestRef{Order: "20261201T100000.000000Z-0000000000000000900"}, r)
		if err != nil {
			fmt.Println(fault.ClassOf(err), "-", fault.UserMessage(err, ""))
			continue
		}
		fmt.Println(connector.Describe(r), "is", booking.OriginId)
	}
	// Output:
	// vendor "Bolt Supply" is V-1
	// vendor "Bolt Supply" is V-1
	// permanent - The vendor has no name. Enter it in Procore, then export the vendor again.
	// permanent - Acme Books takes no jobs from Procore, so job "Tower" was not exported. Enter it in Acme Books by hand.
}
