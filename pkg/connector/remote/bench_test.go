package remote

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// BenchmarkPut compares a driver in the process with one that is called, and one that is reached by a stream, with 1, 8
// and 64 records under way. cpu-us/op is the CPU time of both sides, user and system: the client and the server are one
// process here, and the driver does nothing.
func BenchmarkPut(b *testing.B) {
	address, _ := served(b, driver{}, ServerConfig{})
	for _, way := range []struct {
		name string
		d    connector.Driver
	}{{"compiled in", driver{}}, {"stream", streaming(b, address, nil)}, {"call", opened(b, address, nil)}} {
		for _, underWay := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", way.name, underWay), func(b *testing.B) {
				b.ReportAllocs()
				before := cpu(b)
				var next atomic.Int64
				var all sync.WaitGroup
				for range underWay {
					all.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if _, err := way.d.Put(b.Context(), commitment); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
			})
		}
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// commitment is a contract of four lines, about 1 KiB.
var commitment = func() *tiebackv1.PutRequest {
	r := &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_COMMITMENT, ProcoreId: 562949953421312, Code: "SC-0042", Name: "Concrete, north tower", Kind: "work_order_contract",
		Description: "Supply and place structural concrete, levels 1 to 12", Status: "Approved", VendorOriginId: "V-1042", JobOriginId: "J-77", Date: "2026-11-30",
	}
	for i := range 4 {
		r.Lines = append(r.Lines, &tiebackv1.Line{
			ProcoreId: 562949953421400 + int64(i), Description: "Structural concrete, footing and columns", Amount: "12500.00", Quantity: "100", UnitCost: "125.00", Unit: "cy",
			CostCodeOriginId: "CC-03-3000", CategoryOriginId: "SUB", Position: int32(i),
		})
	}
	return &tiebackv1.PutRequest{CompanyId: 4242, Key: "4242/11/562949953421312/0", Record: r, Request: 900, Order: "2026-11-30T10:00:00.000001Z-0000000000000000900", Stamp: "stamp"}
}()
