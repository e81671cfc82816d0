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

// Attempts is the stored record of the attempts at an unfinished message. The start of a first attempt is not stored, and
// the record is deleted after the last attempt. The broker's own count does not suffice: it counts deliveries, even those of
// messages that were only in flight when another message crashed the process.
type Attempts struct {
	Done       int       `json:"done"`       // attempts that ended with an error, but not throttled ones
	Unfinished int       `json:"unfinished"` // attempts without a result since the last one with a result (throttled or not); includes a running attempt
	At         time.Time `json:"-"`          // when this was stored; zero: not stored

	// How the last attempt with a result ended, throttled ones included.
	Class  fault.Class  `json:"class,omitempty"`
	Source fault.Source `json:"source,omitempty"`
	Reason fault.Reason `json:"reason,omitempty"`
	Since  time.Time    `json:"since,omitzero"`  // when the cause began; if that is not known: when an attempt first failed with it
	Until  time.Time    `json:"until,omitzero"`  // when a throttled message is redelivered
	Why    string       `json:"why,omitempty"`   // the message for the accountant, or ""
	Error  string       `json:"error,omitempty"` // for the operator
}

// AttemptKey identifies the attempts of a consumer at a message.
type AttemptKey struct {
	Stream, Consumer string
	Sequence         uint64
}

// String returns attempt.<stream>.<consumer>.<sequence>, the key in the state bucket.
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

// Count returns the number of attempts; 1 if none was stored.
func (a Attempts) Count() int { return max(1, a.Done+a.Unfinished) }

// Failure returns the error of the last attempt that ended; nil: not known.
func (a Attempts) Failure() error {
	if a.Done == 0 && a.Class == fault.Transient { // Transient is the zero Class: no error is stored
		return nil
	}
	return &fault.Error{
		Class: a.Class, Source: a.Source, Reason: a.Reason, Since: a.Since, UserMessage: a.Why, RetryAfter: max(0, time.Until(a.Until)),
		Err: errors.New(cmp.Or(a.Error, a.Class.String()+" error")),
	}
}

// Next returns the approximate start of the next attempt after a failed one. backoff is Consumer.Backoff. Next returns the
// zero time if it is not known: while an attempt is running, or the message waits for a rate limit.
func (a Attempts) Next(backoff time.Duration) time.Time {
	if a.Done == 0 || a.Unfinished > 0 || a.Class == fault.Throttled {
		return time.Time{}
	}
	return a.At.Add(retryDelay(cmp.Or(backoff, defaultBackoff), a.Done))
}

// withFailure returns a with the error of an attempt; before is the record of the earlier attempts.
func (a Attempts) withFailure(err error, before Attempts) Attempts {
	a.Class, a.Source, a.Reason, a.Why = fault.ClassOf(err), fault.SourceOf(err), fault.ReasonOf(err), fault.UserMessage(err, "")
	a.Since = fault.SinceOf(err)
	if a.Since.IsZero() && before.Source == a.Source && before.Reason == a.Reason {
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

// readAttempts parses an entry. An entry that does not parse counts as one unfinished attempt.
func readAttempts(e Entry) Attempts {
	var a Attempts
	if e.Value != nil && json.Unmarshal(e.Value, &a) != nil {
		a = Attempts{Unfinished: 1}
	}
	a.At = e.At
	return a
}

// Attempts returns the stored attempts at a message; the zero Attempts if none was stored.
func (b *Bus) Attempts(ctx context.Context, k AttemptKey) (Attempts, error) {
	a, _, err := b.attempts(ctx, k)
	return a, err
}

func (b *Bus) attempts(ctx context.Context, k AttemptKey) (a Attempts, found bool, err error) {
	e, err := b.bucket.Get(ctx, k.String())
	if err != nil || e.Value == nil {
		return Attempts{}, false, err
	}
	return readAttempts(e), true, nil
}

// EachAttempts calls fn for the stored attempts of at most limit messages, in no order. It returns true if there are more.
func (b *Bus) EachAttempts(ctx context.Context, limit int, fn func(AttemptKey, Attempts)) (more bool, err error) {
	return b.bucket.Each(ctx, "attempt.>", limit, func(e Entry) error {
		if k, ok := parseAttemptKey(e.Key); ok {
			fn(k, readAttempts(e))
		}
		return nil
	})
}

func (b *Bus) saveAttempts(ctx context.Context, k AttemptKey, a Attempts) error {
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return b.bucket.Put(ctx, k.String(), value)
}

func (b *Bus) forgetAttempts(ctx context.Context, k AttemptKey) error {
	return b.bucket.Delete(ctx, k.String(), time.Hour)
}
