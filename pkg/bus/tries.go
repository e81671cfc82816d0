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

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/fault"
)

// Tries is what was noted of the attempts at a message that is not finished, for whoever looks from
// outside. Nothing is noted of a first attempt, and what was noted is forgotten with the last.
type Tries struct {
	Done       int       // attempts that ended with a verdict; waiting out a rate limit is none
	Unfinished int       // begun since, and not heard of again: one of them may be under way
	At         time.Time // when this was noted; zero: nothing was
	Failure    error     // how the last attempt ended that had to come again; nil: not known
}

// Next is about when the next attempt begins, where the last has failed; zero: that is not known, as
// where one is under way, or a rate limit is waited out.
func (t Tries) Next(backoff time.Duration) time.Time {
	if t.Done == 0 || t.Unfinished > 0 || fault.ClassOf(t.Failure) == fault.Throttled {
		return time.Time{}
	}
	c := Consumer{Backoff: backoff}
	c.defaults()
	return t.At.Add((&running{Consumer: c}).delay(t.Done))
}

// Tries tells of a message of a stream, as a consumer tries it.
func (s *State) Tries(ctx context.Context, stream, consumer string, seq uint64) (Tries, error) {
	key := attemptKey(stream, consumer, seq)
	m, _, err := s.last(ctx, key)
	if m == nil {
		return Tries{}, err
	}
	var a attempts
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return Tries{}, fmt.Errorf("state %s: %w", key, err)
	}
	return a.tries(m.Time), nil
}

func (a attempts) tries(at time.Time) Tries {
	t := Tries{Done: a.Done, Unfinished: a.Unfinished, At: at}
	if a.Done > 0 || a.Class != fault.Transient {
		t.Failure = &fault.Error{
			Class: a.Class, Source: a.Source, Reason: a.Reason, Since: a.Since, UserMessage: a.Why, RetryAfter: max(0, time.Until(a.Until)),
			Err: errors.New(cmp.Or(a.Error, a.Class.String()+" error")),
		}
	}
	return t
}

// Tried names a message that was tried more than once.
type Tried struct {
	Stream, Consumer string
	Sequence         uint64
}

// AllTries hands over what is noted of unfinished messages, of most of them at most; cut says that
// there is more.
func (s *State) AllTries(ctx context.Context, most int, each func(Tried, Tries)) (cut bool, err error) {
	return s.most(ctx, "attempt.>", most, func(key string, m *jetstream.RawStreamMsg) {
		var a attempts
		if of, ok := readTried(key); ok && json.Unmarshal(m.Data, &a) == nil {
			each(of, a.tries(m.Time))
		}
	})
}

// readTried reads attempt.<stream>.<consumer>.<seq>.
func readTried(key string) (Tried, bool) {
	p := strings.Split(key, ".")
	if len(p) != 4 {
		return Tried{}, false
	}
	seq, err := strconv.ParseUint(p[3], 10, 64)
	return Tried{Stream: p[1], Consumer: p[2], Sequence: seq}, err == nil
}
