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

// eachLink calls do for every link whose key fits a filter.
func (s *State) eachLink(ctx context.Context, filter string, do func(Linked, Link)) error {
	return s.values(ctx, filter, func(key string, m *jetstream.RawStreamMsg) error {
		r, l, err := readLink(key, m.Data)
		if err == nil {
			do(r, l)
		}
		return err
	})
}

// readLink reads link.<company>.<item type>.<item id>.
func readLink(key string, value []byte) (Linked, Link, error) {
	var l Link
	parts := strings.Split(key, ".")
	if len(parts) == 4 && json.Unmarshal(value, &l) == nil {
		if id, err := strconv.ParseInt(parts[3], 10, 64); err == nil {
			return Linked{ItemType: parts[2], ItemID: id}, l, nil
		}
	}
	return Linked{}, l, fmt.Errorf("state %s holds what no service of ours wrote", key)
}
