package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// Attempts is what was noted of the attempts at a message that is not finished. Nothing is noted of a first attempt,
// and what was noted is deleted with the last. The broker's own count is of deliveries to a client: by it, the
// neighbours of a message that kills its process would be blamed for it.
type Attempts struct {
	Done       int       `json:"done"`       // attempts that ended with a verdict; waiting for a rate limit is none
	Unfinished int       `json:"unfinished"` // attempts that began since and have not ended; one of them may be under way
	At         time.Time `json:"-"`          // when this was noted; zero: nothing was

	// How the last attempt with a verdict ended.
	Class  fault.Class  `json:"class,omitempty"`
	Source fault.Source `json:"source,omitempty"`
	Reason fault.Reason `json:"reason,omitempty"`
	Since  time.Time    `json:"since,omitzero"`  // when what the error says began, or else the first attempt that failed
	Until  time.Time    `json:"until,omitzero"`  // of a throttled attempt
	Why    string       `json:"why,omitempty"`   // the sentence for the accountant, or ""
	Error  string       `json:"error,omitempty"` // for the operator
}

// AttemptKey names a message as a consumer attempts it.
type AttemptKey struct {
	Stream, Consumer string
	Sequence         uint64
}

// String is attempt.<stream>.<consumer>.<seq>.
func (k AttemptKey) String() string {
	return fmt.Sprintf("attempt.%s.%s.%d", k.Stream, k.Consumer, k.Sequence)
}

func parseAttemptKey(key string) (AttemptKey, bool) {
	p := strings.Split(key, ".")
	if len(p) != 4 {
		return AttemptKey{}, false
	}
	seq, err := strconv.ParseUint(p[3], 10, 64)
	return AttemptKey{Stream: p[1], Consumer: p[2], Sequence: seq}, err == nil
}

// Count is how many attempts were made; 1 where nothing was noted.
func (a Attempts) Count() int { return max(1, a.Done+a.Unfinished) }

// Failure is how the last attempt with a verdict ended, as an error; nil: not known.
func (a Attempts) Failure() error {
	if a.Done == 0 && a.Class == fault.Transient {
		return nil
	}
	return &fault.Error{
		Class: a.Class, Source: a.Source, Reason: a.Reason, Since: a.Since, UserMessage: a.Why, RetryAfter: max(0, time.Until(a.Until)),
		Err: errors.New(cmp.Or(a.Error, a.Class.String()+" error")),
	}
}

// Next is about when the next attempt begins, where the last has failed; zero: that is not known, as
// where one is under way, or a rate limit is waited out.
func (a Attempts) Next(backoff time.Duration) time.Time {
	if a.Done == 0 || a.Unfinished > 0 || a.Class == fault.Throttled {
		return time.Time{}
	}
	c := Consumer{Backoff: backoff}
	c.defaults()
	return a.At.Add((&dispatcher{Consumer: c}).delay(a.Done))
}

// failed is a with how an attempt ended; before is what was noted of the attempts before it.
func (a Attempts) failed(err error, before Attempts) Attempts {
	a.Class, a.Source, a.Reason, a.Why = fault.ClassOf(err), fault.SourceOf(err), fault.ReasonOf(err), fault.UserMessage(err, "")
	a.Since = fault.SinceOf(err)
	if same := before.Source == a.Source && before.Reason == a.Reason; a.Since.IsZero() && same {
		a.Since = before.Since
	}
	if a.Since.IsZero() {
		a.Since = time.Now()
	}
	if wait := fault.RetryAfter(err); a.Class == fault.Throttled && wait > 0 {
		a.Until = time.Now().Add(wait)
	}
	a.Error = strings.ToValidUTF8(err.Error()[:min(len(err.Error()), 300)], "?")
	return a
}

// readAttempts reads an entry. One that this version can't read counts as one attempt that has not ended.
func readAttempts(e Entry) Attempts {
	var a Attempts
	if e.Value != nil && json.Unmarshal(e.Value, &a) != nil {
		a = Attempts{Unfinished: 1}
	}
	a.At = e.At
	return a
}

// Attempts reads what was noted of a message; the zero Attempts where nothing was.
func (b *Bus) Attempts(ctx context.Context, of AttemptKey) (Attempts, error) {
	a, _, err := b.attempts(ctx, of)
	return a, err
}

func (b *Bus) attempts(ctx context.Context, of AttemptKey) (a Attempts, noted bool, err error) {
	e, err := b.bucket.Get(ctx, of.String())
	if err != nil || e.Value == nil {
		return Attempts{}, false, err
	}
	return readAttempts(e), true, nil
}

// EachAttempts passes what was noted of unfinished messages, of so many at most; cut says that there are more.
func (b *Bus) EachAttempts(ctx context.Context, most int, each func(AttemptKey, Attempts)) (cut bool, err error) {
	return b.bucket.Each(ctx, "attempt.>", most, func(e Entry) error {
		if of, ok := parseAttemptKey(e.Key); ok {
			each(of, readAttempts(e))
		}
		return nil
	})
}

func (b *Bus) saveAttempts(ctx context.Context, of AttemptKey, a Attempts) error {
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return b.bucket.Put(ctx, of.String(), value)
}

func (b *Bus) forgetAttempts(ctx context.Context, of AttemptKey) error {
	return b.bucket.Delete(ctx, of.String(), time.Hour)
}
