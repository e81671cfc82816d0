package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector/remote"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// erp is the embedded ledger, a process that serves gRPC, and the fault proxy for the calls of some companies.
type erp struct {
	program *program
	addr    string
	disk    *disk
	proxy   *faultProxy
}

func (cl *cluster) openERP(ctx context.Context) (err error) {
	cl.erp = &erp{}
	if cl.erp.disk, err = newDisk(filepath.Join(cl.dir, "ledger")); err != nil {
		return err
	}
	if cl.erp.addr, err = cl.ports.take(); err != nil {
		return err
	}
	cl.erp.program = &program{
		name: "ledger", path: cl.programs.path("ledger"), logs: cl.logs,
		env: []string{"TIEBACK_DATA=" + cl.erp.disk.dir, "LEDGER_ADDR=" + cl.erp.addr},
		up:  func() { cl.recorder.restartedERP(cl.erp) },
	}
	if cl.erp.proxy, err = openFaultProxy(cl.ports, cl.erp.addr); err != nil {
		return err
	}
	for _, f := range cl.firms {
		if f.books, err = remote.Open(ctx, f.id, map[string]string{"address": cl.erp.addr, "tls": "off", "timeout": "5s"}); err != nil {
			return err
		}
	}
	return nil
}

func (e *erp) close() {
	if e.program != nil {
		e.program.close()
	}
	if e.proxy != nil {
		e.proxy.close()
	}
}

// up reports whether the ledger answers.
func (cl *cluster) booksOpen(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := cl.firms[0].books.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: cl.firms[0].id})
	return err == nil
}

// hands makes changes in the ERP for the scenario, not over a link. It retries until the ERP is up.
type hands struct {
	firm   *firm
	serial *atomic.Int64
}

func (h hands) Add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
	key := fmt.Sprintf("by-hand/%d", h.serial.Add(1))
	var out *tiebackv1.Record
	err := again(ctx, func() error {
		answer, err := h.firm.books.Put(ctx, &tiebackv1.PutRequest{CompanyId: h.firm.id, Key: key, Record: r})
		if err != nil {
			return err
		}
		out = proto.CloneOf(r)
		out.OriginId = answer.GetBooking().GetOriginId()
		for i, l := range out.Lines {
			l.OriginId = answer.Booking.LineOriginIds[i]
		}
		return nil
	})
	return out, err
}

func (h hands) Delete(ctx context.Context, entity tiebackv1.Entity, originID string) error {
	key := fmt.Sprintf("by-hand/%d", h.serial.Add(1))
	return again(ctx, func() error {
		_, err := h.firm.books.Remove(ctx, &tiebackv1.RemoveRequest{CompanyId: h.firm.id, Entity: entity, OriginId: originID, Key: key})
		return err
	})
}

// again retries until the call succeeds or is refused.
func again(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || refused(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}
