package tryton

import (
	"context"
	"maps"
)

// Raw calls Tryton as its own client does, past the driver: what tests compare it with.
func Raw(ctx context.Context, settings map[string]string, out any, method string, params ...any) error {
	return RawIn(ctx, settings, nil, out, method, params...)
}

// RawIn is Raw with more in Tryton's context.
func RawIn(ctx context.Context, settings map[string]string, extra map[string]any, out any, method string, params ...any) error {
	c, err := read(settings)
	if err != nil {
		return err
	}
	b := &Books{rpc: newClient(c), config: c}
	id, err := b.companyID(ctx)
	if err != nil {
		return err
	}
	with := object{"company": id}
	maps.Copy(with, extra)
	return b.rpc.callWith(ctx, writes, with, out, method, params...)
}

// Money is an amount of Tryton's.
type Money = money

// Day is a date of Tryton's.
type Day = day
