package worker

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/state"
)

// pauses has the companies that an operator paused. The zero value has no company.
type pauses struct {
	companies atomic.Pointer[map[int64]bool]
}

// has reports whether a company is paused.
func (p *pauses) has(company int64) bool {
	all := p.companies.Load()
	return all != nil && (*all)[company]
}

// pollPauses is the interval at which the pauses are read.
const pollPauses = 2 * time.Second

// follow reads the pauses of one stage until ctx ends. If they can't be read, the pauses that were read last apply.
func (p *pauses) follow(ctx context.Context, s *state.State, stage string, log *zap.Logger) {
	tick := time.NewTicker(pollPauses)
	defer tick.Stop()
	for {
		all, err := s.Pauses(ctx)
		if err == nil {
			p.set(all, stage, log)
		} else if ctx.Err() == nil {
			log.Warn("could not read which companies are paused", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *pauses) set(all []state.Pause, stage string, log *zap.Logger) {
	now := map[int64]bool{}
	for _, pause := range all {
		if pause.Stage != "" && pause.Stage != stage {
			continue
		}
		now[pause.Company] = true
		if !p.has(pause.Company) {
			log.Info("a company is paused", zap.Int64("company", pause.Company), zap.String("who", pause.Who), zap.String("reason", pause.Reason))
		}
	}
	if before := p.companies.Swap(&now); before != nil {
		for company := range *before {
			if !now[company] {
				log.Info("a company is resumed", zap.Int64("company", company))
			}
		}
	}
}
