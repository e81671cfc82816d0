package tryton

import (
	"context"
	"maps"
)

// Raw calls Tryton like its own client, without the driver.
func Raw(ctx context.Context, settings map[string]string, out any, method string, params ...any) error {
	return RawIn(ctx, settings, nil, out, method, params...)
}

// RawIn is like Raw, with additions to Tryton's context.
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

// Money is an amount in Tryton.
type Money = money

// Day is a date in Tryton.
type Day = day
