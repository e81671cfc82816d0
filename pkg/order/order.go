// Package order orders the ERP requests of a company by the time when Procore created them.
package order

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Key is the place of an ERP request among those of its company. Keys compare as strings: the request with the higher
// key was created later, and only equal keys are the same request. A key has a fixed width:
//
//	20261201T100000.123456Z-0000598134325841112
//	the time when Procore created the request, in UTC and microseconds, and its id
//
// Ids do not grow with time: Procore does not promise it, and several regions assign them. The id only orders requests of
// the same microsecond. A request whose time is known only in seconds counts from the start of its second, and so may
// come before older requests of that second.
//
// The order is that of Procore's clock. If that clock went back, requests after the change would count as older than
// those before it. Procore does not document such a case.
//
// The zero value comes before all requests. It stands for a change by the ERP's own users, for a link that was read back
// from Procore, and for a record that was never unlinked or reset.
type Key string

const layout = "20060102T150405.000000Z"

// New returns the key of a request that was created at the given time. A time without a four-digit year
// counts as the zero time: such requests are ordered by id, before all others.
func New(at time.Time, request int64) Key {
	if at = at.UTC(); at.Year() < 1 || at.Year() > 9999 {
		at = time.Time{}
	}
	return Key(fmt.Sprintf("%s-%019d", at.Format(layout), request))
}

// Of returns the key of an event's or outcome's request. It is always the same, as both have the time of the
// request's first delivery.
func Of(m interface {
	GetErpRequestId() int64
	GetRequestedAt() *timestamppb.Timestamp
}) Key {
	at := time.Time{}
	if t := m.GetRequestedAt(); t != nil {
		at = t.AsTime()
	}
	return New(at, m.GetErpRequestId())
}

// Request returns the id of the key's request, or 0 if it has none.
func (k Key) Request() int64 {
	_, id, _ := strings.Cut(string(k), "-")
	n, _ := strconv.ParseInt(id, 10, 64)
	return n
}
