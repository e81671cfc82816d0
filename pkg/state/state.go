// Package state stores what the pipeline knows about records and companies, in the broker's bucket tieback-state:
//
//	link.<company>.<item type>.<item id>    origin id that Procore has for the record; written by the status-reporter and tieback links; expires if unlinked
//	generation.<company>.<entity>.<item id> order key of the ERP request that last unlinked, reset or removed the record; written by unlink, reset and export
//	cursor.<company>.<entity>               position up to which the ERP's changes are in Procore; also hashes of job data; written by sync and import
//	cursor.<company>.deleted-<request>      records that a throttled event has deleted in Procore so far; written by unlink and reset
//	cursor.<company>.kept-<item type>-<id>  origin id of a record whose link a reset removed; written by reset
//	swept.<company>                         checkpoint of the last sweep of Procore's lists; written by sweep
//	pauses                                  companies and stages that an operator paused; written by the console
//	trouble.<company>.<what>.<service>      since when erp, procore, hook or ours (Tieback) is in trouble; expires
package state

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/order"
)

// State reads and writes the bucket. Its methods may be called concurrently.
type State struct {
	bucket  *bus.Bucket
	service string
}

// Of returns the state at the broker of b; nil if b has no bucket, which is possible after bus.ConnectReadOnly.
func Of(b *bus.Bus) *State {
	if b.Bucket() == nil {
		return nil
	}
	return &State{bucket: b.Bucket(), service: b.Name()}
}

func (s *State) text(ctx context.Context, key string) (string, error) {
	e, err := s.bucket.Get(ctx, key)
	return string(e.Value), err
}

// Generation returns the order key of the ERP request that last unlinked or reset the record; "": none did.
func (s *State) Generation(ctx context.Context, company int64, entity string, itemID int64) (order.Key, error) {
	key, err := s.text(ctx, generationKey(company, entity, itemID))
	return order.Key(key), err
}

// NextGeneration records that a request unlinked or reset the record. Then a newer export makes a new booking; an older one, or
// one whose order is unknown, is refused. NextGeneration does nothing if a newer request is recorded. Of two requests whose order
// is unknown, it records the one with the higher Latest.
func (s *State) NextGeneration(ctx context.Context, company int64, entity string, itemID int64, request order.Key) error {
	return s.bucket.Update(ctx, generationKey(company, entity, itemID), func(raw []byte) ([]byte, error) {
		if was := order.Key(raw); was.Same(request) || was.Latest() >= request.Latest() {
			return nil, nil
		}
		return []byte(request), nil
	})
}

func generationKey(company int64, entity string, itemID int64) string {
	return fmt.Sprintf("generation.%d.%s.%d", company, entity, itemID)
}

// Cursor returns what SaveCursor stored under a key: the position in an entity's changes, or progress that a handler of events
// keeps. It returns "" if nothing is stored.
func (s *State) Cursor(ctx context.Context, company int64, key string) (string, error) {
	return s.text(ctx, fmt.Sprintf("cursor.%d.%s", company, key))
}

// SaveCursor stores a cursor under a key. A position is saved only after Procore has all changes up to it.
func (s *State) SaveCursor(ctx context.Context, company int64, key, cursor string) error {
	return s.bucket.Put(ctx, fmt.Sprintf("cursor.%d.%s", company, key), []byte(cursor))
}

// SweepCheckpoint returns the checkpoint of a company's last sweep; "": none yet.
func (s *State) SweepCheckpoint(ctx context.Context, company int64) (string, error) {
	return s.text(ctx, sweptKey(company))
}

// SaveSweepCheckpoint stores the checkpoint from which the next sweep of a company continues.
func (s *State) SaveSweepCheckpoint(ctx context.Context, company int64, value string) error {
	return s.bucket.Put(ctx, sweptKey(company), []byte(value))
}

func sweptKey(company int64) string { return fmt.Sprintf("swept.%d", company) }
