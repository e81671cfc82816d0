package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
)

const (
	bucket    = "tieback-state"
	stateName = "KV_" + bucket // of its stream
)

// State is what the pipeline remembers about records, in one key-value bucket (readable
// with `nats kv ls tieback-state`):
//
//	link.<company>.<item type>.<item id>    origin id that Procore has for the record; written by the status-reporter, and by a rebuild (services/links)
//	life.<company>.<entity>.<item id>       order key of the ERP request that ended the record's last life; written by unlink and reset
//	cursor.<company>.<entity>               up to where the ERP's changes are in Procore; written by sync
//	cursor.<company>.deleted-<request>      what a throttled event has deleted in Procore so far; written by unlink and reset
//	swept.<company>                         what the last sweep of Procore's lists left behind; written by sweep
//	attempt.<stream>.<consumer>.<seq>       attempts at a message that came again
//	trouble.<company>.<what>.<service>      since when erp, procore, hook or ours (Tieback) is in trouble; goes by itself
type State struct {
	stream    jetstream.Stream // the bucket's own
	service   string           // whose connection this is; "": tieback
	publisher *Publisher
}

// stateStream is the bucket as a stream of our own making, which any client of key-value buckets
// can open: the buckets' own API would let any replica answer a read, and a follower may not
// know yet which life of a record has ended. With replicas, reads go to the leader.
func stateStream(o Options) wanted {
	return wanted{leaderReads: true, StreamConfig: jetstream.StreamConfig{
		Name: stateName, Description: "links, lives, cursors and attempts of Tieback", Subjects: []string{"$KV." + bucket + ".>"},
		Storage: jetstream.FileStorage, Replicas: o.Replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DenyDelete: true, AllowAtomicPublish: true,
		AllowMsgTTL: true, Duplicates: 2 * time.Minute,
	}}
}

func (b *Bus) openState(ctx context.Context, o Options) (*State, error) {
	s, err := b.stream(ctx, stateStream(o))
	if err != nil {
		return nil, err
	}
	return &State{stream: s, service: o.Name, publisher: newPublisher(b.js, stateName)}, nil
}

// put shares commits with other writes of the moment.
func (s *State) put(ctx context.Context, key string, value []byte) error {
	return s.publisher.Publish(ctx, &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: value, Header: nats.Header{}})
}

// putAt writes a key whose revision is still the one given; else ErrDuplicate.
func (s *State) putAt(ctx context.Context, key string, value []byte, revision uint64) error {
	h := nats.Header{}
	h.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return s.publisher.Publish(ctx, &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: value, Header: h})
}

// change writes what next makes of a key's value, unless somebody else wrote it meanwhile:
// then next is asked again. A nil answer of next leaves all as it is.
func (s *State) change(ctx context.Context, key string, next func(old []byte) ([]byte, error)) error {
	for {
		old, revision, err := s.read(ctx, key)
		if err != nil {
			return err
		}
		value, err := next(old)
		if err != nil || value == nil {
			return err
		}
		if err := s.putAt(ctx, key, value, revision); !errors.Is(err, ErrDuplicate) {
			return err
		}
	}
}

func (s *State) get(ctx context.Context, key string) ([]byte, error) {
	value, _, err := s.read(ctx, key)
	return value, err
}

// read gives a key's value, nil where there is none or it was deleted by hand, and the
// revision that a change must name: of a deleted key that of its deletion.
func (s *State) read(ctx context.Context, key string) ([]byte, uint64, error) {
	m, revision, err := s.last(ctx, key)
	if m == nil {
		return nil, revision, err
	}
	return m.Data, revision, nil
}

// values calls each for every key that fits a filter and has a value, in no order. Each key is read as it is
// then: one that is written or deleted meanwhile may have its old or its new value, or be left out.
func (s *State) values(ctx context.Context, filter string, each func(key string, m *jetstream.RawStreamMsg) error) error {
	const prefix = "$KV." + bucket + "."
	listing, cancel := brief(ctx)
	defer cancel()
	info, err := s.stream.Info(listing, jetstream.WithSubjectFilter(prefix+filter))
	if err != nil {
		return fmt.Errorf("state %s: %w", filter, err)
	}
	var (
		all errgroup.Group
		mu  sync.Mutex
	)
	all.SetLimit(valuesAtOnce)
	for subject := range info.State.Subjects {
		all.Go(func() error {
			key := strings.TrimPrefix(subject, prefix)
			m, _, err := s.last(ctx, key)
			if m == nil || err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			return each(key, m)
		})
	}
	return all.Wait()
}

// valuesAtOnce is how many keys are read at once.
const valuesAtOnce = 64

// last is read with the message whole; nil where there is no value.
func (s *State) last(ctx context.Context, key string) (*jetstream.RawStreamMsg, uint64, error) {
	ctx, cancel := brief(ctx)
	defer cancel()
	m, err := newest(ctx, s.stream, "$KV."+bucket+"."+key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("state %s: %w", key, err)
	case m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "":
		return nil, m.Sequence, nil
	}
	return m, m.Sequence, nil
}

// Link is the origin id that Procore has for a record, and the ERP request it was learned from.
type Link struct {
	OriginID string    `json:"origin_id"` // "": unlinked
	Order    order.Key `json:"order"`     // "": from no request, but read back from Procore; see services/links

	// Of a link that was read: what a change must name.
	read     bool
	revision uint64
}

// Becomes is the link that an ERP request makes of a link that was read. To save it takes no
// other look at what was read.
func (l Link) Becomes(originID string, request order.Key) Link {
	l.OriginID, l.Order = originID, request
	return l
}

// SaveLink keeps a link. What an older request says never overwrites what a newer one said.
func (s *State) SaveLink(ctx context.Context, company int64, itemType string, itemID int64, l Link) error {
	key := linkKey(company, itemType, itemID)
	value, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if l.read {
		if err := s.putAt(ctx, key, value, l.revision); !errors.Is(err, ErrDuplicate) {
			return err
		}
	}
	return s.change(ctx, key, func(raw []byte) ([]byte, error) {
		var old Link
		if raw != nil && json.Unmarshal(raw, &old) == nil && (old.Order > l.Order || old.OriginID == l.OriginID && old.Order == l.Order) {
			return nil, nil
		}
		return value, nil
	})
}

func linkKey(company int64, itemType string, itemID int64) string {
	return fmt.Sprintf("link.%d.%s.%d", company, itemType, itemID)
}

// LinkOf is the origin id that Procore has for a record; "": none that we know of.
func (s *State) LinkOf(ctx context.Context, company int64, itemType string, itemID int64) (string, error) {
	l, err := s.Link(ctx, company, itemType, itemID)
	return l.OriginID, err
}

// Link is what is known of a record's link; nothing: the link of no request.
func (s *State) Link(ctx context.Context, company int64, itemType string, itemID int64) (Link, error) {
	raw, revision, err := s.read(ctx, linkKey(company, itemType, itemID))
	if err != nil {
		return Link{}, err
	}
	l := Link{}
	if raw != nil && json.Unmarshal(raw, &l) != nil {
		return Link{}, fmt.Errorf("state %s holds what no service of ours wrote", linkKey(company, itemType, itemID))
	}
	l.read, l.revision = true, revision
	return l, nil
}

// Links maps origin id to item id, for every linked record of a company's item type.
func (s *State) Links(ctx context.Context, company int64, itemType string) (map[string]int64, error) {
	links := map[string]int64{}
	err := s.eachLink(ctx, fmt.Sprintf("link.%d.%s.*", company, itemType), func(r Linked, l Link) {
		if l.OriginID != "" {
			links[l.OriginID] = r.ItemID
		}
	})
	if err != nil {
		return nil, err
	}
	return links, nil
}

// Generation is the order of the ERP request that ended the record's last life in the ERP; "": it is in its first.
func (s *State) Generation(ctx context.Context, company int64, entity string, itemID int64) (order.Key, error) {
	raw, err := s.get(ctx, lifeKey(company, entity, itemID))
	return order.Key(raw), err
}

// NextGeneration notes that request ended the record's life: an export after it books anew, an
// export older than it is superseded. An older request never moves the mark back.
func (s *State) NextGeneration(ctx context.Context, company int64, entity string, itemID int64, request order.Key) error {
	return s.change(ctx, lifeKey(company, entity, itemID), func(raw []byte) ([]byte, error) {
		if order.Key(raw) >= request {
			return nil, nil
		}
		return []byte(request), nil
	})
}

func lifeKey(company int64, entity string, itemID int64) string {
	return fmt.Sprintf("life.%d.%s.%d", company, entity, itemID)
}

// Cursor is up to where the ERP's changes of an entity are in Procore; "": nothing yet.
func (s *State) Cursor(ctx context.Context, company int64, entity string) (string, error) {
	raw, err := s.get(ctx, fmt.Sprintf("cursor.%d.%s", company, entity))
	return string(raw), err
}

// SaveCursor keeps a cursor; call it only after Procore has everything up to it.
func (s *State) SaveCursor(ctx context.Context, company int64, entity, cursor string) error {
	return s.put(ctx, fmt.Sprintf("cursor.%d.%s", company, entity), []byte(cursor))
}

// Swept is what the last sweep of a company kept for the next; "": nothing yet.
func (s *State) Swept(ctx context.Context, company int64) (string, error) {
	raw, err := s.get(ctx, sweptKey(company))
	return string(raw), err
}

// SaveSwept keeps what the next sweep of a company goes on from.
func (s *State) SaveSwept(ctx context.Context, company int64, value string) error {
	return s.put(ctx, sweptKey(company), []byte(value))
}

func sweptKey(company int64) string { return fmt.Sprintf("swept.%d", company) }

// attempts is what is known of a message that came more than once. The broker's own count is of
// deliveries to a client: with it, a poison message would take its innocent neighbours along.
type attempts struct {
	Done       int `json:"done"`       // attempts that ended with a verdict, waiting apart
	Unfinished int `json:"unfinished"` // attempts that began since and were never heard of again

	// How the last attempt with a verdict ended, for whoever waits.
	Class  fault.Class  `json:"class,omitempty"`
	Source fault.Source `json:"source,omitempty"`
	Reason fault.Reason `json:"reason,omitempty"`
	Since  time.Time    `json:"since,omitzero"`  // when what the error says began, or else the first attempt that failed
	Until  time.Time    `json:"until,omitzero"`  // of a throttled attempt
	Why    string       `json:"why,omitempty"`   // the sentence for the accountant, or ""
	Error  string       `json:"error,omitempty"` // for the operator
}

// failed is the history with how an attempt ended; before is what was noted of the attempts before it.
func (a attempts) failed(err error, before attempts) attempts {
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

func (s *State) attempts(ctx context.Context, stream, consumer string, seq uint64) (attempts, error) {
	raw, err := s.get(ctx, attemptKey(stream, consumer, seq))
	if err != nil {
		return attempts{}, err
	}
	var a attempts
	if raw == nil || json.Unmarshal(raw, &a) != nil { // the first was not written down, or by no service of ours, and it did not end
		return attempts{Unfinished: 1}, nil
	}
	return a, nil
}

func (s *State) saveAttempts(ctx context.Context, stream, consumer string, seq uint64, a attempts) error {
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return s.put(ctx, attemptKey(stream, consumer, seq), value)
}

func attemptKey(stream, consumer string, seq uint64) string {
	return fmt.Sprintf("attempt.%s.%s.%d", stream, consumer, seq)
}

// forgetAttempts leaves a mark that goes by itself. Not a rollup, as a bucket's own purge is: whoever may
// send one may purge the whole bucket by it, and so nobody may (AllowRollup).
func (s *State) forgetAttempts(ctx context.Context, stream, consumer string, seq uint64) error {
	ctx, cancel := brief(ctx)
	defer cancel()
	m := &nats.Msg{Subject: "$KV." + bucket + "." + attemptKey(stream, consumer, seq), Header: nats.Header{}}
	m.Header.Set("KV-Operation", "DEL")
	m.Header.Set(jetstream.MsgTTLHeader, time.Hour.String())
	return s.publisher.Publish(ctx, m)
}
