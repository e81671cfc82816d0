// Package deadletters is where people work off what the pipeline could not do: letters, as package request lists
// them, are replayed as they are or edited, and discarded.
//
//	a letter is  it has                                      what can be done with it
//	open         no dealing                                  replay, edit, discard
//	cut off      a dealing "replayed" that was never sent    replay: sends what was claimed
//	replayed     a dealing "replayed", and its message sent  replay or edit again
//	discarded    a dealing "discarded", with the reason      replay or edit again
//
// A dealing is a message of kind dealt, written Once under the letter's sequence: of two people
// who deal with one letter, one has it and the other is told who and when. It is written before
// the replay is sent, and the replay is sent Once as well, so that a crash between the two is
// mended by doing it again. What is dealt with again gets a further subject, 42-2 after 42.
//
// A replay is the letter's message on its own subject, in a run of its own. It goes through the
// same stops and the same guards as any message: its key is the old one, so what was booked is
// not booked twice, and the ERP refuses what a newer request has overtaken. Should it fail for good
// again, that is a new letter.
//
// Who deals is whoever the caller says. Nobody checks it: services have no users.
package dead

import (
	"github.com/tieback/tieback/pkg/bus"
)

// Desk is where one person works. All its methods may be called concurrently.
type Desk struct {
	Bus *bus.Bus
	Who string // who deals; kept with each dealing
}
