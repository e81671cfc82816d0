package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/order"
)

// Link is the origin id that Procore has for a record, and the ERP request it was learned from.
type Link struct {
	OriginID string    `json:"origin_id"` // "": unlinked; the link expires, see RemovedFor
	Order    order.Key `json:"order"`     // "": read back from Procore by tieback links

	// For the conditional write of a link that was read.
	read     bool
	revision uint64
}

// Update returns the link with the origin id that an ERP request gave it. If l was read, SaveLink needs no further read unless
// another process has changed the link.
func (l Link) Update(originID string, request order.Key) Link {
	l.OriginID, l.Order = originID, request
	return l
}

// RemovedFor is how long a link without an origin id is kept: that of a record that was unlinked, or is gone. It shows that an older
// request must not mark or link the record again. A request that is older than RemovedFor, and whose record has no link, may be
// such an older request.
const RemovedFor = 90 * 24 * time.Hour

// SaveLink stores a link, unless the stored link is that of a newer request, or of one whose order is unknown. A link without an
// origin id expires after RemovedFor.
func (s *State) SaveLink(ctx context.Context, company int64, itemType string, itemID int64, l Link) error {
	key := linkKey(company, itemType, itemID)
	value, err := json.Marshal(l)
	if err != nil {
		return err
	}
	ttl := time.Duration(0)
	if l.OriginID == "" {
		ttl = RemovedFor
	}
	if l.read {
		if err := s.bucket.ReplaceTTL(ctx, key, value, l.revision, ttl); !errors.Is(err, bus.ErrDuplicate) {
			return err
		}
	}
	return s.bucket.UpdateTTL(ctx, key, ttl, func(raw []byte) ([]byte, error) {
		var old Link
		if raw != nil && json.Unmarshal(raw, &old) == nil && !l.Order.After(old.Order) && (!old.Order.Same(l.Order) && old.Order != l.Order || old.OriginID == l.OriginID) {
			return nil, nil
		}
		return value, nil
	})
}

// EncodeLink returns the key and the value of a link in the bucket tieback-state.
func EncodeLink(company int64, itemType string, itemID int64, l Link) (key string, value []byte, err error) {
	value, err = json.Marshal(l)
	return linkKey(company, itemType, itemID), value, err
}

func linkKey(company int64, itemType string, itemID int64) string {
	return fmt.Sprintf("link.%d.%s.%d", company, itemType, itemID)
}

// OriginID returns the origin id that Procore has for a record; "": none is known.
func (s *State) OriginID(ctx context.Context, company int64, itemType string, itemID int64) (string, error) {
	l, err := s.Link(ctx, company, itemType, itemID)
	return l.OriginID, err
}

// Link returns the link of a record; the zero link if none is stored.
func (s *State) Link(ctx context.Context, company int64, itemType string, itemID int64) (Link, error) {
	e, err := s.bucket.Get(ctx, linkKey(company, itemType, itemID))
	if err != nil {
		return Link{}, err
	}
	l := Link{}
	if e.Value != nil && json.Unmarshal(e.Value, &l) != nil {
		return Link{}, fmt.Errorf("state %s holds a value that no service of Tieback wrote", linkKey(company, itemType, itemID))
	}
	l.read, l.revision = true, e.Revision
	return l, nil
}

// Links returns the item ids of all linked records of a company's item type, by origin id.
func (s *State) Links(ctx context.Context, company int64, itemType string) (map[string]int64, error) {
	links := map[string]int64{}
	err := s.eachLink(ctx, fmt.Sprintf("link.%d.%s.*", company, itemType), func(r Linked, l Link) {
		if l.OriginID != "" {
			links[l.OriginID] = r.ItemID
		}
	})
	return links, err
}

// Linked identifies a record that has a link.
type Linked struct {
	ItemType string
	ItemID   int64
}

// AllLinks returns all links of a company, including unlinked ones.
func (s *State) AllLinks(ctx context.Context, company int64) (map[Linked]Link, error) {
	links := map[Linked]Link{}
	err := s.eachLink(ctx, fmt.Sprintf("link.%d.>", company), func(r Linked, l Link) { links[r] = l })
	return links, err
}

// eachLink calls fn for every link whose key matches a filter.
func (s *State) eachLink(ctx context.Context, filter string, fn func(Linked, Link)) error {
	_, err := s.bucket.Each(ctx, filter, 0, func(e bus.Entry) error {
		r, l, err := readLink(e.Key, e.Value)
		if err == nil {
			fn(r, l)
		}
		return err
	})
	return err
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
	return Linked{}, l, fmt.Errorf("state %s holds a value that no service of Tieback wrote", key)
}
