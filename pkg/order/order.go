// Package order orders the ERP requests of a company by the time when Procore created them.
package order

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Key is the place of an ERP request among those of its company. As strings, keys sort by time. A key has a fixed width:
//
//	20261201T100000.123456Z-0000598134325841112
//	the time when Procore created the request, in UTC and microseconds, and its id
//
// Ids do not grow with time: Procore does not promise it, and several regions assign them. The id only orders requests of
// the same microsecond.
//
// The time of a request that was found in a request detail is known only in seconds: its key has no fraction. Procore
// publishes nothing that orders such a request and the others of its second, so their order is unknown. As a string,
// its key is the first of its second; to compare two requests, use After.
//
// A request may have both keys, one after the other: first that of its webhook, and after the broker has lost the delivery that
// of its request detail. Use Same to tell whether two keys are of one request.
//
// The order is that of Procore's clock. If that clock went back, requests after the change would count as older than
// those before it. Procore does not document such a case.
//
// The zero value comes before all requests. It stands for a change by the ERP's own users, for a link that was read back
// from Procore, and for a record that was never unlinked or reset.
type Key string

const layout = "20060102T150405.000000Z"

// New returns the key of a request that was created at the given time. A time without a four-digit year
// counts as the zero time: such requests come before all others, in unknown order.
func New(at time.Time, request int64) Key {
	if at = at.UTC(); at.Year() < 1 || at.Year() > 9999 {
		at = time.Time{}
	}
	key := append(at.AppendFormat(make([]byte, 0, 64), layout), '-')
	id := strconv.AppendInt(make([]byte, 0, 20), request, 10)
	key = append(key, "0000000000000000000"[:max(0, 19-len(id))]...)
	return Key(append(key, id...))
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

// Latest returns the highest key that the request might have if its time were known in microseconds. It is the key
// itself, or if the key has no fraction, the end of its second: 20261201T100000.~~~~~~Z-0000598134325841112, which is
// higher than all keys of that second.
func (k Key) Latest() Key {
	second, request, whole := strings.Cut(string(k), ".000000Z-")
	if !whole {
		return k
	}
	return Key(second + ".~~~~~~Z-" + request)
}

// After reports whether the request was certainly created after another. For two requests whose order is unknown, both
// a.After(b) and b.After(a) are false.
func (k Key) After(other Key) bool { return k > other.Latest() }

// Same reports whether two keys are of the same request.
func (k Key) Same(other Key) bool { return k.Request() != 0 && k.Request() == other.Request() }

// Request returns the id of the key's request, or 0 if it has none.
func (k Key) Request() int64 {
	_, id, _ := strings.Cut(string(k), "-")
	n, _ := strconv.ParseInt(id, 10, 64)
	return n
}
