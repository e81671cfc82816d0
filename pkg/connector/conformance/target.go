package conformance

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
)

// Target is the connector under test.
type Target struct {
	// Company is whose books are used.
	Company int64
	// Other is another company that the same connector serves; 0: none, its case is left out.
	Other int64
	// Open opens a new driver on the same books, as a worker process of its own would. The
	// suite closes what it opened. Several are open at once.
	Open func(context.Context) (connector.Driver, error)
	// Restart kills whatever keeps the books, without warning, and starts it again; calls are
	// under way meanwhile. Drivers opened before may be dead after it. The suite waits until
	// Capabilities answers. Nil: the cases that need it are left out.
	Restart func(context.Context) error
	// Rehearse makes the next call under the context that it returns meet a fault of the ERP:
	// by a value in the context, as wire.Rehearse does, or by arming a stand-in of the ERP. Nil:
	// the cases that need it are left out.
	Rehearse func(context.Context, rehearsal.Fault) (context.Context, error)
	// Unique tells this run's records from those of others on the same books: up to eight
	// letters and digits. "": made of the time.
	Unique string
}

// checked fills in what may be left out, and refuses what makes no sense.
func (t Target) checked() (Target, error) {
	if t.Company <= 0 {
		return t, errors.New("conformance: Target.Company is missing")
	}
	if t.Open == nil {
		return t, errors.New("conformance: Target.Open is missing")
	}
	t.Unique = cmp.Or(t.Unique, unique())
	return t, nil
}

// unique is short, since some ERPs take codes of few characters.
func unique() string {
	n := uint64(time.Now().UnixMilli())*1296 + rand.Uint64N(1296)
	s := strconv.FormatUint(n, 36)
	return strings.ToUpper(s[len(s)-7:])
}
