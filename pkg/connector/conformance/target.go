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
	// Company is the company whose books are used.
	Company int64
	// Other is another company that the same connector serves. 0: its case is left out.
	Other int64
	// Open opens a new driver on the same books, like a separate worker process. The suite closes the drivers
	// that it opened. Several are open at once.
	Open func(context.Context) (connector.Driver, error)
	// Restart kills the process that keeps the books, without warning, and starts it again, while calls are
	// in flight. Drivers that were opened before may not work afterwards. The suite waits until Capabilities
	// answers. nil: the cases that need it are left out.
	Restart func(context.Context) error
	// Stream opens a PutStream of the connector. It ends with ctx. nil: the cases of streams are left out.
	Stream func(context.Context) (PutStream, error)
	// Stop stops the process that serves the connector in good order, as a rolling update does, and starts it again,
	// while records are under way. nil: its case is left out.
	Stop func(context.Context) error
	// Rehearse makes the next call with the returned context meet a fault of the ERP: through a value in the
	// context, like wire.Rehearse, or by preparing a simulated ERP. nil: the cases that need it are left out.
	Rehearse func(context.Context, rehearsal.Fault) (context.Context, error)
	// Unique distinguishes the records of this run from those of other runs on the same books: up to eight
	// letters and digits. "": derived from the time.
	Unique string
}

// checked sets default values and returns an error if the target is invalid.
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
