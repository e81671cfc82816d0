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

// erps bring up the ERP of the demo and give the connector section of the companies file.
var erps = map[string]func(context.Context, *stage) (map[string]string, error){
	"ledger": func(context.Context, *stage) (map[string]string, error) {
		return map[string]string{"driver": "ledger"}, nil
	},
	"remote": remoteERP,
	"tryton": trytonERP,
}

// bringUp brings the chosen ERP up.
func (s *stage) bringUp(ctx context.Context) (map[string]string, error) {
	up := erps[s.ERP]
	if up == nil {
		return nil, fmt.Errorf("ERP=%s: there is no such ERP; one of %s", s.ERP, strings.Join(slices.Sorted(maps.Keys(erps)), ", "))
	}
	if s.Address != "" && s.ERP != "remote" {
		return nil, errors.New("ADDRESS: is the address of a connector, for ERP=remote")
	}
	return up(ctx, s)
}

// connect opens a connector of the demo's own: for the ERP's people, and to read the books.
func (s *stage) connect(ctx context.Context) (err error) {
	co := s.pipeline.Companies[local.CompanyID]
	s.driver, err = s.pipeline.Drivers[co.Driver](ctx, co.ID, co.Settings())
	if err != nil {
		return err
	}
	s.caps, err = s.driver.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: co.ID})
	return err
}

// cannot are the entities that the ERP does not take from Procore.
func (s *stage) cannot() []tiebackv1.Entity {
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

// oneCurrency says whether the ERP takes contracts in the company's own currency only. The demo's
// Tryton would take others, but has only that one.
func (s *stage) oneCurrency() bool {
	for _, c := range s.caps.Entities {
		if c.Entity == tiebackv1.Entity_ENTITY_COMMITMENT {
			return !c.Currency || s.ERP == "tryton"
		}
	}
	return true
}
