package lag

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
)

// stateStream holds links, lives, cursors and attempts: the one stream beside the kinds' that grows.
const stateStream = "KV_tieback-state"

// eye looks at the broker. One look at a time.
type eye struct {
	bus   *bus.Bus
	known map[string]*oldest // by consumer
}

// oldest is the oldest unfinished message as it was last read. While a consumer's floor stands
// still it is the same message, and need not be read again: an event may weigh megabytes.
type oldest struct {
	made   time.Time // the consumer
	floor  uint64
	stored time.Time // zero: not known
}

func newEye(b *bus.Bus) *eye {
	e := &eye{bus: b, known: map[string]*oldest{}}
	for _, d := range bus.Durables() {
		e.known[d.Name] = &oldest{}
	}
	return e
}

// look asks for all at once. The view lacks what was not answered; err says what that was. What does
// not exist is no trouble of the broker's: a consumer that was not made yet has no numbers.
func (e *eye) look(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout) // all questions are asked at once
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		v    view
		errs []error
	)
	ask := func(what string, f func() error) {
		all.Go(func() {
			if err := f(); err != nil && !missing(err) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for _, name := range streams() {
		ask(name, func() error {
			s, err := e.stock(ctx, name)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				v.streams = append(v.streams, s)
			}
			return err
		})
	}
	for _, d := range bus.Durables() {
		ask(d.Name, func() error {
			b, err := e.backlog(ctx, d)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				v.consumers = append(v.consumers, b)
			}
			return err
		})
	}
	ask("account", func() error {
		s, err := e.store(ctx)
		mu.Lock()
		defer mu.Unlock()
		v.store = s
		return err
	})
	all.Wait()
	v.at, v.up = time.Now(), len(errs) == 0
	return v, errors.Join(errs...)
}

func missing(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

func streams() []string {
	var all []string
	for _, k := range bus.Kinds {
		all = append(all, k.Stream())
	}
	return append(all, stateStream)
}

func (e *eye) stock(ctx context.Context, name string) (stock, error) {
	s, err := e.bus.JetStream().Stream(ctx, name)
	if err != nil {
		return stock{}, err
	}
	state := s.CachedInfo().State
	offline, _ := bus.Missing(s.CachedInfo().Cluster)
	return stock{stream: name, messages: state.Msgs, bytes: state.Bytes, offline: len(offline)}, nil
}

func (e *eye) store(ctx context.Context) (store, error) {
	account, err := e.bus.JetStream().AccountInfo(ctx)
	if err != nil {
		return store{}, err
	}
	return store{known: true, used: account.Store, limit: uint64(max(0, account.Limits.MaxStore))}, nil
}

// backlog asks a consumer, and for the age of its oldest message where that is not known.
func (e *eye) backlog(ctx context.Context, d bus.Durable) (backlog, error) {
	c, err := e.bus.JetStream().Consumer(ctx, d.Kind.Stream(), d.Name)
	if err != nil {
		return backlog{}, err
	}
	info := c.CachedInfo()
	b := backlog{consumer: d.Name, messages: info.NumPending + uint64(info.NumAckPending)}
	if b.messages == 0 {
		return b, nil
	}
	known := e.known[d.Name]
	if known.stored.IsZero() || known.floor != info.AckFloor.Stream || !known.made.Equal(info.Created) {
		stored, err := e.first(ctx, d, info.AckFloor.Stream+1)
		if err != nil {
			return backlog{}, err
		}
		*known = oldest{made: info.Created, floor: info.AckFloor.Stream, stored: stored}
	}
	if !known.stored.IsZero() {
		b.oldest = max(0, time.Since(known.stored)) // by two clocks, a new one may seem to come from the future
	}
	return b, nil
}

// first is when the first message from a sequence on that a consumer wants was stored; zero: there
// is none, as where it was finished since, or a replica that lags does not have it yet.
func (e *eye) first(ctx context.Context, d bus.Durable, from uint64) (time.Time, error) {
	s, err := e.bus.JetStream().Stream(ctx, d.Kind.Stream()) // it says whether it may be read without its leader
	if err != nil {
		return time.Time{}, err
	}
	m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(d.Filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return m.Time, nil
}
