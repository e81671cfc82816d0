package trace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tieback/tieback/pkg/bus"
)

// Companies are those that have met a request of this id, in order: among the given ones, which costs
// a question each, and only where none of those has, among all that the streams hold.
func Companies(ctx context.Context, b *bus.Bus, request int64, known []int64) ([]int64, error) {
	var have []int64
	for _, c := range known {
		arrived, err := b.Has(ctx, bus.For(bus.Delivery, "", c, request))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", bus.Delivery.Stream(), err)
		}
		if arrived {
			have = append(have, c)
		}
	}
	if have == nil {
		return anywhere(ctx, b, request)
	}
	slices.Sort(have)
	return have, nil
}

// anywhere looks for a request of any company, with or without a delivery: what was replayed may be
// older than its delivery was kept.
func anywhere(ctx context.Context, b *bus.Bus, request int64) ([]int64, error) {
	found := map[int64]bool{}
	var errs []error
	for _, k := range bus.Kinds {
		first := fmt.Sprintf("tb.%s.*.*.*.%d", k, request)
		errs = append(errs, b.Scan(ctx, bus.Scan{Kind: k, Subjects: []string{first, first + ".*"}}, func(m bus.Message) error {
			if m.Subject != (bus.Subject{}) {
				found[m.Subject.Company] = true
			}
			return nil
		}))
	}
	var have []int64
	for c := range found {
		have = append(have, c)
	}
	slices.Sort(have)
	return have, errors.Join(errs...)
}
