// Package order places the ERP requests of a company in the order in which Procore created them.
package order

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Key is the place of an ERP request among those of its company. Keys compare as strings: the
// request of the higher key was created later, and only an equal key is the same request. The
// shape has a fixed width:
//
//	20261201T100000.123456Z-0000598134325841112
//	when Procore created the request, in UTC and microseconds, and its id
//
// Ids do not grow with time: Procore does not promise it, and several regions give them out. The id
// decides between requests of the same microsecond only. A request whose time is known in seconds
// counts from the start of its second, and so may come before others of that second which are older.
//
// The order is that of Procore's clock. Were that to go back, as no page of Procore's says it does, requests
// of the time after would count as older than those of the time before.
//
// The zero value is no request: it comes before all others. It stands for the ERP's own people, for
// a link that was read back from Procore and for a record that was never unlinked or reset.
type Key string

const layout = "20060102T150405.000000Z"

// New is the key of a request that was created at the given time. A time that has no year of four
// digits counts as the zero time: its requests are ordered by their ids, before all others.
func New(at time.Time, request int64) Key {
	if at = at.UTC(); at.Year() < 1 || at.Year() > 9999 {
		at = time.Time{}
	}
	return Key(fmt.Sprintf("%s-%019d", at.Format(layout), request))
}

// Of is the key of an event's or outcome's request. It is the same each time: both carry the time
// that the first delivery of the request brought.
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

// Request is the id of the key's request; 0: it has none.
func (k Key) Request() int64 {
	_, id, _ := strings.Cut(string(k), "-")
	n, _ := strconv.ParseInt(id, 10, 64)
	return n
}
