package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// erps start the ERP of the demo and return the connector section of the companies file.
var erps = map[string]func(context.Context, *demo) (map[string]string, error){
	"ledger": func(context.Context, *demo) (map[string]string, error) {
		return map[string]string{"driver": "ledger"}, nil
	},
	"remote": remoteERP,
	"tryton": trytonERP,
}

// startERP starts the chosen ERP.
func (s *demo) startERP(ctx context.Context) (map[string]string, error) {
	start := erps[s.ERP]
	if start == nil {
		return nil, fmt.Errorf("--erp %s: must be one of %s", s.ERP, strings.Join(slices.Sorted(maps.Keys(erps)), ", "))
	}
	if s.Address != "" && s.ERP != "remote" {
		return nil, errors.New("--address: give it only with --erp remote")
	}
	return start(ctx, s)
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
			return !c.Currency || s.ERP == "tryton"
		}
	}
	return true
}
