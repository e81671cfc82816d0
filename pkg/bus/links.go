package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Linked names a record that a link is kept for.
type Linked struct {
	ItemType string
	ItemID   int64
}

// AllLinks gives every link kept for a company, the ended ones too.
func (s *State) AllLinks(ctx context.Context, company int64) (map[Linked]Link, error) {
	links := map[Linked]Link{}
	err := s.eachLink(ctx, fmt.Sprintf("link.%d.>", company), func(r Linked, l Link) { links[r] = l })
	return links, err
}

// eachLink hands over the links whose keys fit a filter.
func (s *State) eachLink(ctx context.Context, filter string, do func(Linked, Link)) error {
	w, err := s.kv.Watch(ctx, filter, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("state %s: %w", filter, err)
	}
	defer func() { _ = w.Stop() }() // the watcher ends with its connection anyway
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-w.Updates():
			if !open {
				return fmt.Errorf("state %s: the broker went away", filter)
			}
			if e == nil { // all that there was
				return nil
			}
			r, l, err := readLink(e)
			if err != nil {
				return err
			}
			do(r, l)
		}
	}
}

// readLink reads link.<company>.<item type>.<item id>.
func readLink(e jetstream.KeyValueEntry) (Linked, Link, error) {
	var l Link
	parts := strings.Split(e.Key(), ".")
	if len(parts) == 4 && json.Unmarshal(e.Value(), &l) == nil {
		if id, err := strconv.ParseInt(parts[3], 10, 64); err == nil {
			return Linked{ItemType: parts[2], ItemID: id}, l, nil
		}
	}
	return Linked{}, l, fmt.Errorf("state %s holds what no service of ours wrote", e.Key())
}
