package worker_test

import (
	"context"
	"fmt"
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/exports"
	"github.com/tieback/tieback/services/worker/workertest"
)

// A program of your own is the export worker with your driver compiled in: this line is its main. The companies file names
// the driver: connector: {driver: acme}. Its settings are passed to the opener.
func Example_compiledInDriver() {
	open := func(_ context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		return &workertest.ERP{}, nil // here, your driver
	}

	_ = func() { // func main()
		os.Exit(tenant.Main("export", connector.Drivers{"acme": open}, exports.Run))
	}
}

// A handler reads the payload, books a record and returns the close-out of its request detail. The second call stands for
// a redelivery of the event: it finds the first booking.
func ExampleHandler() {
	var handler worker.Handler = func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		vendor := t.Payload.Data.Object("vendor")
		booking, err := t.Book(ctx, &tiebackv1.Record{
			Entity: tiebackv1.Entity_ENTITY_VENDOR, ProcoreId: vendor.ID("id"), Name: vendor.Text("name"),
		})
		if err != nil {
			return nil, err
		}
		return []*tiebackv1.CloseOut{{
			RequestDetailId: t.Payload.Data.ID("request_detail_id"), Status: tiebackv1.Status_STATUS_SUCCESS,
			Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: vendor.ID("id"), OriginId: booking.OriginId}},
		}}, nil
	}

	request, err := payload.Parse([]byte(`{"request_data":{"request_detail_id":5,"vendor":{"id":35,"name":"Acme"}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	erp := &workertest.ERP{}
	task := &worker.Task{
		Event: &tiebackv1.Event{CompanyId: 7, ErpRequestId: 900, Type: "create_vendor"}, Payload: request,
		ERP: connector.New(erp, connector.Config{Company: 7, Generations: erp}), State: erp,
	}
	for range 2 {
		closeOuts, err := handler(context.Background(), task)
		if err != nil {
			fmt.Println(err)
			return
		}
		c := closeOuts[0]
		fmt.Printf("detail %d: %s, %s %d is %s\n", c.RequestDetailId, c.Status, c.Marks[0].ItemType, c.Marks[0].ItemId, c.Marks[0].OriginId)
	}
	fmt.Println(len(erp.Puts), "booking")
	// Output:
	// detail 5: STATUS_SUCCESS, vendor 35 is E-1
	// detail 5: STATUS_SUCCESS, vendor 35 is E-1
	// 1 booking
}
