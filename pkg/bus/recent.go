package bus

import (
	"math"
	"time"

	"github.com/nats-io/nats.go"
)

// recent remembers the subjects whose message the broker acknowledged a short time ago, so that a copy can be answered as a
// duplicate without the broker.
//
// The answer claims that the stream has the message. A subject is forgotten before the claim can be wrong, except after a purge:
//
//	message expired        a subject is not remembered longer than the stream keeps a message
//	broker restarted,      the connection is lost: everything is forgotten, and nothing is remembered while
//	power lost, restored     the client is disconnected
//	stream restored or     sequences start over: everything is forgotten at the first acknowledgement whose
//	created again            sequence is not higher than those of earlier commits
//	stream purged, or      not noticed. A copy is refused for at most maxRecentAge longer. The sweep compares Procore's
//	restored and unused      lists with the stream itself, and publishes what is missing with Publish
//
// Only PublishNew, for webhooks, answers from it. Copies of events, outcomes and closes come from redeliveries, often after
// a crash or a loss, and no sweep would bring the message in again: these always ask the broker.
//
// A message is remembered only if it was queued and acknowledged on the same connection. recent is not safe for concurrent use.
type recent struct {
	keep              time.Duration
	epoch             uint64               // of the connection that the subjects were acknowledged on
	current, previous map[string]time.Time // by subject: when it was acknowledged; each has at most maxRecent/2 subjects
	highest           uint64               // sequence of an accepted message
	floor             uint64               // highest, when the commit in progress began
}

const (
	// maxRecentAge covers most repetitions of a webhook: Procore repeats after a second, and doubles the time.
	maxRecentAge = time.Minute
	// maxRecent bounds the memory to about 5 MB. The oldest subjects are forgotten first.
	maxRecent = 1 << 15
)

// newRecent returns an empty recent for a stream that keeps messages for maxAge; 0: for ever.
func newRecent(maxAge time.Duration) recent {
	r := recent{keep: maxRecentAge}
	if maxAge > 0 {
		r.keep = min(r.keep, maxAge)
	}
	return r
}

func (r *recent) forget() { r.current, r.previous = nil, nil }

// has reports whether a subject is remembered. epoch is that of the connection now.
func (r *recent) has(subject string, epoch uint64, now time.Time) bool {
	if epoch != r.epoch {
		return false
	}
	at, ok := r.current[subject]
	if !ok {
		at, ok = r.previous[subject]
	}
	return ok && now.Sub(at) < r.keep
}

// add remembers a subject whose message was queued when the connection had the epoch queued, and has now been acknowledged.
func (r *recent) add(subject string, queued, epoch uint64, now time.Time) {
	if queued != epoch || epoch == disconnected {
		return
	}
	if epoch != r.epoch {
		r.forget()
		r.epoch = epoch
	}
	if len(r.current) >= maxRecent/2 {
		r.current, r.previous = nil, r.current
	}
	if r.current == nil {
		r.current = map[string]time.Time{}
	}
	r.current[subject] = now
}

// newCommit begins a commit. The messages of one commit are accepted in any order.
func (r *recent) newCommit() { r.floor = r.highest }

// accepted records the sequence of a message that the stream has accepted in this commit.
func (r *recent) accepted(sequence uint64) {
	if sequence <= r.floor {
		r.forget()
		r.floor, r.highest = 0, 0
	}
	r.highest = max(r.highest, sequence)
}

// disconnected is the epoch of a client without a connection.
const disconnected = math.MaxUint64

// connectionEpoch returns a number that changes when the connection is lost.
func connectionEpoch(nc *nats.Conn) uint64 {
	if !nc.IsConnected() {
		return disconnected
	}
	return nc.Stats().Reconnects
}
