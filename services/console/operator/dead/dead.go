// Package dead lists, shows, replays, edits and discards dead letters.
//
//	state        its latest resolution                     next
//	open         none                                      replay, edit, discard
//	interrupted  "replayed", but the replay was not sent   replay: sends the recorded replay
//	replayed     "replayed", and the replay was sent       replay or edit again
//	discarded    "discarded", with the reason              replay or edit again
//
// A resolution is a message on a subject of its own, with the dead letter's sequence. Only one resolver can publish
// it; another gets an error that says who resolved the dead letter, and when. The resolution is published before the
// replay is sent, and both are idempotent: after a crash between the two, a second replay resumes the first.
// A second resolution of dead letter 42 has the subject 42-2.
//
// A replay is the failed message on its own subject, as a run of its own. It passes the same stages and the same
// idempotency guards as any message: it has the same key, so a booking is not made twice, and the ERP refuses a booking
// that a newer request has superseded. If it fails permanently again, it becomes a new dead letter.
//
// The resolver's name is set by the caller.
package dead

import (
	"github.com/tieback/tieback/pkg/bus"
)

// Resolver resolves dead letters in the name of one person. Its methods may be called concurrently.
type Resolver struct {
	Bus *bus.Bus
	Who string // stored with each resolution
}
