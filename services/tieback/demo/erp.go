package demo

import (
	"context"
	"io"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// ERP starts an ERP for the demo. Its files are in the directory data, which exists. It prints to out why the start takes long.
type ERP func(ctx context.Context, data string, out io.Writer) (Started, error)

// Started is an ERP that has been started.
type Started struct {
	Connector map[string]string // the connector section of the companies file
	Drivers   connector.Drivers // that Connector may name in addition to the ledger; may be nil
	Ledger    bool              // its books are those of `tieback ledger`
	Stop      func() error      // is called after the pipeline has ended; may be nil
}

// embeddedLedger is the ERP by default. The pipeline opens it.
func embeddedLedger(context.Context, string, io.Writer) (Started, error) {
	return Started{Connector: map[string]string{"driver": "ledger"}, Ledger: true}, nil
}

// connect opens a second driver, for the ERP's own users and to read the books.
func (s *demo) connect(ctx context.Context) (err error) {
	co := s.pipeline.Companies[local.CompanyID]
	s.driver, err = s.pipeline.Drivers[co.Driver](ctx, co.ID, co.Settings())
	if err != nil {
		return err
	}
	s.caps, err = s.driver.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: co.ID})
	return err
}

// unsupported returns the entities that the ERP does not accept from Procore.
func (s *demo) unsupported() []tiebackv1.Entity {
	can := map[tiebackv1.Entity]bool{}
	for _, c := range s.caps.Entities {
		can[c.Entity] = c.Put
	}
	var out []tiebackv1.Entity
	for n := range tiebackv1.Entity_name {
		if e := tiebackv1.Entity(n); n != 0 && !can[e] {
			out = append(out, e)
		}
	}
	return out
}

// oneCurrency reports whether the ERP accepts contracts only in the company's currency. The demo's Tryton has only that one.
func (s *demo) oneCurrency() bool {
	for _, c := range s.caps.Entities {
		if c.Entity == tiebackv1.Entity_ENTITY_COMMITMENT {
			return !c.Currency || s.erp.Connector["driver"] == "tryton"
		}
	}
	return true
}
