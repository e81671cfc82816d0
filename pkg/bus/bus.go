// Package bus is Tieback's use of NATS JetStream: its streams, subjects, consumers and
// the one place that turns a handler's error into an ack, a delay or a dead letter.
//
//	stream             subjects         kept         written by
//	TIEBACK_DELIVERY   tb.delivery.>    Retention    ingest
//	TIEBACK_EVENT      tb.event.>       Retention    fetcher
//	TIEBACK_OUTCOME    tb.outcome.>     Retention    workers, fetcher (dead ends)
//	TIEBACK_CLOSED     tb.closed.>      Retention    status-reporter
//	TIEBACK_DEAD       tb.dead.>        for ever     whoever gives up
//	TIEBACK_RESOLUTION      tb.resolution.>       for ever     people, through tieback dead
//	KV_tieback-quota   Procore's limits as its processes know them: see quota.go
//	KV_tieback-seen    how far the streams have come: see losses.go
//	KV_tieback-state   what package state keeps, and attempts: see bucket.go
//
// All are Limits streams: acknowledging deletes nothing, and one request's history can be
// read back by its subject. A message of the first four kinds is written at most once per
// subject (see Once), which is the durable mark against duplicates, for as long as Retention.
//
// Who makes them: whoever connects (the default), or SetUp alone, and then nobody else needs the
// right to (Options.Made). Who may do what else is one table: see permissions.go.
package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Options say how to reach the broker and how to lay out its streams.
type Options struct {
	URL             string        // "": InProcess must be given
	InProcess       nats.Option   // nats.InProcessServer of an embedded server
	NKeyFile        string        // an nkey seed, read for each connect; "": none is shown
	CAFile          string        // PEM, whom to trust as the broker; "": the system's roots
	Name            string        // of the service, shown by the broker; answers come to _INBOX_<name>; "": tieback
	TopologyManaged bool          // all that SetUp makes is there, or will be: wait for it and make nothing
	Replicas        int           // of every stream, at least; 0: 1
	Retention       time.Duration // of the pipeline's streams; 0: 30 days
	MaxBytes        uint64        // of all streams together, from nine tenths of which no new delivery is taken; 0: no end
	AckWait         time.Duration // of consumers that say nothing themselves; 0: 30 s
	Log             *zap.Logger

	Waiting func(why error) // called while a caller waits for the broker, with each reason; may be nil
}

// Bus is a connection to the broker. All methods may be called concurrently.
type Bus struct {
	name       string
	nc         *nats.Conn
	js         jetstream.JetStream
	log        *zap.Logger
	bucket     *Bucket
	publishers map[Kind]*Publisher
	streams    map[Kind]jetstream.Stream // as setUp found them; none after LookOn
	quarantine quarantine                // of all consumers: they share the process that a poison kills
	ackWait    time.Duration
	pulls      sync.RWMutex // read-locked by each pull; see leave
	managed    bool
	conn       connState
	watching   sync.WaitGroup
	unwatch    context.CancelFunc // ends watching; nil: not begun
}

// Connect reaches the broker, waiting for it as long as ctx allows, and makes sure that the
// streams are as this version wants them, or waits until they are there (Made). Close it after all
// its consumers have stopped.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	b, err := dial(o)
	if err != nil {
		return nil, err
	}
	if err := b.setUp(ctx, o); err != nil {
		b.Close()
		return nil, err
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.unwatch = stop
	b.watching.Go(func() { b.watch(watching) })
	return b, nil
}

// dial gives a bus that has a connection, perhaps not yet made, and knows no streams.
func dial(o Options) (*Bus, error) {
	opts := []nats.Option{
		nats.Name("tieback " + o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), // else a second refusal in a row closes the connection for good
		nats.ReconnectBufSize(-1), nats.CustomInboxPrefix(inbox(cmp.Or(o.Name, "tieback"))),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			o.Log.Warn("broker refused or dropped something", zap.Error(err))
		}),
	}
	if o.InProcess != nil {
		opts = append(opts, o.InProcess)
	}
	b := &Bus{name: cmp.Or(o.Name, "tieback"), conn: connState{lost: make(chan struct{}, 1), onWait: o.Waiting}, log: o.Log, ackWait: o.AckWait, managed: o.TopologyManaged, publishers: map[Kind]*Publisher{}, streams: map[Kind]jetstream.Stream{}}
	opts = append(append(opts, nats.LameDuckModeHandler(b.leaveLameDuck)), b.conn.options()...)
	nc, err := connect(o, opts)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if o.NKeyFile != "" { // the service has an account of its own; see permissions.go
		js, err = jetstream.NewWithAPIPrefix(nc, apiPrefix)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	b.nc, b.js = nc, js
	return b, nil
}

func (b *Bus) setUp(ctx context.Context, o Options) error {
	if err := b.waitForBroker(ctx); err != nil {
		return err
	}
	for _, k := range Kinds {
		s, err := b.stream(ctx, kindStream(k, o))
		if err != nil {
			return err
		}
		b.streams[k] = s
		b.publishers[k] = newPublisher(b.js, k.Stream())
	}
	if o.MaxBytes > 0 {
		b.publishers[Delivery].capacity = &capacityGuard{js: b.js, max: o.MaxBytes}
	}
	if !b.managed { // else lag says if it is not there
		if _, err := b.stream(ctx, seenStream(o)); err != nil {
			return err
		}
	}
	var err error
	b.bucket, err = b.openBucket(ctx, o)
	return err
}

// waitForBroker waits until JetStream answers: services and broker start in any order.
func (b *Bus) waitForBroker(ctx context.Context) error { return b.wait(ctx, b.probe) }

// ask asks whether JetStream answers. A broker with a key for us may have our streams in this account, not in
// one of their own as `provisioner keys` sets it up; which of the two is found out here, before anything else is asked.
func (b *Bus) probe(ctx context.Context) error {
	_, err := b.js.AccountInfo(ctx)
	if b.js.Options().APIPrefix == "" || !errors.Is(err, jetstream.ErrJetStreamNotEnabled) { // what no responder is taken for
		return err
	}
	plain, err := jetstream.New(b.nc)
	if err != nil {
		return err
	}
	if _, err := plain.AccountInfo(ctx); err != nil {
		return err
	}
	b.js = plain
	return nil
}

// Publisher gives the group-committing publisher of a kind.
func (b *Bus) Publisher(k Kind) *Publisher { return b.publishers[k] }

// Bucket gives the key-value bucket; see package state. It is nil after LookOn where it did not answer.
func (b *Bus) Bucket() *Bucket { return b.bucket }

// Name is the name of the service that this is the connection of; tieback where Options had none.
func (b *Bus) Name() string { return b.name }

// JetStream gives the client itself, for readers of streams.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// tolerated is how long the broker may refuse what it is given: an election and a restart pass.
const outageTolerance = 30 * time.Second

// Healthy says whether the broker can be reached now, has its streams ready, and takes what it is given.
func (b *Bus) Healthy() error {
	if why := b.conn.unavailable(); why != nil {
		return fmt.Errorf("waiting for the broker: %w", why)
	}
	if !b.nc.IsConnected() {
		return errors.New("not connected to the broker")
	}
	for k, p := range b.publishers {
		if d := p.stalledFor(); d > outageTolerance {
			return fmt.Errorf("the broker has taken nothing into %s for %v: is its disk full, or has it no leader?", k.Stream(), d.Round(time.Second))
		}
	}
	return nil
}

// Close ends the publishers, then the connection.
func (b *Bus) Close() {
	if b.unwatch != nil {
		b.unwatch()
		b.watching.Wait()
	}
	for _, p := range b.publishers {
		p.close()
	}
	if b.bucket != nil {
		b.bucket.publisher.close()
	}
	_ = b.nc.FlushTimeout(time.Second) // acks on their way; unacked work would only be done again
	b.nc.Close()
}
