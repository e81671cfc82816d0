// Package bus publishes and consumes Tieback's messages on NATS JetStream. It is the only place that turns a handler's
// error into an ack, a redelivery or a dead letter.
//
//	connect    bus.go, key.go, connstate.go, requests.go; setup.go: streams and consumers
//	publish    subject.go, messages.go, publisher.go (group commit), recent.go (duplicates), capacity.go (backpressure)
//	consume    consumer.go, dispatcher.go, settle.go, attempts.go, quarantine.go, and package bus/scheduler (fairness)
//	read       read.go, scan.go, losses.go
//	remove     remove.go
//	buckets    bucket.go (state), quota.go (Procore's rate limits)
//
// Package bus/topology declares the streams, consumers and permissions. A message of the kinds delivery, event, outcome and
// closed is published at most once per subject (see IfAbsent). This is the idempotency guard of the pipeline, for as long
// as the stream keeps the message; see Remover.
//
// Streams and consumers are created by each process that connects (the default), or only by SetUp, so that other processes
// need no permission to create them (Options.TopologyManaged).
package bus

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Options are the address of the broker and the configuration of its streams.
type Options struct {
	URL       string      // "": InProcess must be given
	InProcess nats.Option // nats.InProcessServer of an embedded server
	NKeyFile  string      // with an nkey seed, read for each connect; "": no login
	CAFile    string      // PEM; certificate authorities of the broker; "": those of the system
	// Offered is called with the chain that the broker offers in each TLS handshake, and may be called concurrently; nil: not called.
	Offered         func([]*x509.Certificate)
	Name            string // of the service, as the broker shows it; replies go to _INBOX_<name>; "": tieback
	TopologyManaged bool   // create no stream and no consumer, but wait for those of SetUp
	Replicas        int    // minimum number of replicas of each stream; 0 means 1
	Retention       topology.Retention
	MaxBytes        uint64        // of all streams together; at nine tenths of it new deliveries are refused; 0: no limit
	AckWait         time.Duration // of consumers without one of their own; 0: 2 s
	Log             *zap.Logger

	Waiting func(why error) // called with each reason while Connect waits for the broker; may be nil
}

func (o Options) topology() topology.Config {
	return topology.Config{Replicas: o.Replicas, Retention: o.Retention}
}

// Bus is a connection to the broker. All methods may be called concurrently.
type Bus struct {
	name       string
	nc         *nats.Conn
	js         jetstream.JetStream
	log        *zap.Logger
	bucket     *Bucket
	publishers map[Kind]*Publisher
	requests   *requests
	streams    map[Kind]jetstream.Stream // as setUp found them; empty after ConnectReadOnly
	quarantine quarantine                // shared by all consumers, as a poison message crashes the whole process
	ackWait    time.Duration
	pulls      sync.RWMutex // read-locked during each pull; see leaveLameDuck
	managed    bool
	conn       connState
	watching   sync.WaitGroup
	unwatch    context.CancelFunc // stops watching; nil: not started
}

// Connect connects to the broker and waits for it until ctx ends. It creates or updates the streams, or waits until they
// exist (TopologyManaged). Close it after all its consumers have stopped.
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

// ConnectReadOnly connects to a broker that may be partly unavailable, for commands that inspect it. It creates nothing,
// requires no stream, and the bus must not publish. Bucket is nil if the state bucket does not answer. The caller must
// close the bus.
func ConnectReadOnly(ctx context.Context, o Options) (*Bus, error) {
	o.TopologyManaged = true
	b, err := dial(o)
	if err != nil {
		return nil, err
	}
	if err := b.waitForBroker(ctx); err != nil {
		b.Close()
		return nil, err
	}
	short, cancel := answerContext(ctx)
	defer cancel()
	if b.bucket, err = b.openBucket(short, o); err != nil {
		b.log.Debug("the state bucket does not answer", zap.Error(err))
	}
	return b, nil
}

// dial returns a bus without streams. Its connection may not be established yet.
func dial(o Options) (*Bus, error) {
	pending := &requests{}
	opts := []nats.Option{
		nats.Name("tieback " + o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // a second refused login in a row must not close the connection
		nats.ReconnectBufSize(-1), nats.CustomInboxPrefix(topology.Inbox(cmp.Or(o.Name, "tieback"))),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			o.Log.Warn("the broker refused or dropped a message", zap.Error(err))
			pending.denied(err)
		}),
	}
	if o.InProcess != nil {
		opts = append(opts, o.InProcess)
	}
	b := &Bus{
		name: cmp.Or(o.Name, "tieback"), log: o.Log, ackWait: o.AckWait, managed: o.TopologyManaged,
		requests: pending, publishers: map[Kind]*Publisher{}, streams: map[Kind]jetstream.Stream{},
		conn: connState{lost: make(chan struct{}, 1), onLost: pending.disconnected, onWait: o.Waiting},
	}
	opts = append(append(opts, nats.LameDuckModeHandler(b.leaveLameDuck)), b.conn.options()...)
	nc, err := connect(o, opts)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if o.NKeyFile != "" { // with `provisioner keys`, the service has its own account; see probe
		js, err = jetstream.NewWithAPIPrefix(nc, topology.APIPrefix)
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
		s, err := b.stream(ctx, topology.KindStream(k, o.topology()))
		if err != nil {
			return err
		}
		b.streams[k] = s
		b.publishers[k] = newPublisher(b.js, s, b.requests)
	}
	if o.MaxBytes > 0 {
		b.publishers[Delivery].capacity = &capacityGuard{js: b.js, max: o.MaxBytes}
	}
	// With a managed topology a service does not wait for this stream: lag-exporter reports if it is missing.
	if !b.managed {
		if _, err := b.stream(ctx, topology.SeenStream(o.topology())); err != nil {
			return err
		}
	}
	var err error
	b.bucket, err = b.openBucket(ctx, o)
	return err
}

// waitForBroker waits until JetStream answers, because services and broker start in any order.
func (b *Bus) waitForBroker(ctx context.Context) error { return b.wait(ctx, b.probe) }

// probe checks that JetStream answers. With `provisioner keys`, the streams are in the account tieback and the service is in
// its own. A broker configured otherwise may have both in one account. probe finds out which, before any other request.
func (b *Bus) probe(ctx context.Context) error {
	_, err := b.js.AccountInfo(ctx)
	// nats.go returns ErrJetStreamNotEnabled if nothing responds on the prefix, as in a broker with one account.
	if b.js.Options().APIPrefix == "" || !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
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

// leaveLameDuck reconnects to another broker node when the current node announces its shutdown (lame duck mode), before
// that node closes the connection. It waits for the pull under way: messages that are lost with a closed connection are not
// redelivered for a whole AckWait.
func (b *Bus) leaveLameDuck(nc *nats.Conn) {
	b.pulls.Lock()
	defer b.pulls.Unlock()
	_ = nc.FlushTimeout(time.Second) // sends pending acks; a lost one only costs a redelivery
	_ = nc.ForceReconnect()          // it fails if the client is reconnecting already
}

// Publisher returns the publisher of a kind.
func (b *Bus) Publisher(k Kind) *Publisher { return b.publishers[k] }

// Bucket returns the state bucket; see package state. It is nil if the bucket did not answer ConnectReadOnly.
func (b *Bus) Bucket() *Bucket { return b.bucket }

// Name returns the name of the connected service; tieback if Options has none.
func (b *Bus) Name() string { return b.name }

// JetStream returns the JetStream client, for reading streams.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// outageTolerance is how long the broker may refuse messages before the bus is unhealthy: long enough for an election or
// a restart.
const outageTolerance = 30 * time.Second

// Healthy returns nil if the broker is connected, serves its streams, and accepts messages.
func (b *Bus) Healthy() error {
	if why := b.conn.unavailable(); why != nil {
		return fmt.Errorf("waiting for the broker: %w", why)
	}
	if !b.nc.IsConnected() {
		return errors.New("not connected to the broker")
	}
	for k, p := range b.publishers {
		if d := p.stalledFor(); d > outageTolerance {
			return fmt.Errorf("the broker has accepted no message for %s for %v: check its disk, and that the stream has a leader", k.Stream(), d.Round(time.Second))
		}
	}
	return nil
}

// Close stops the publishers, then closes the connection.
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
	_ = b.nc.FlushTimeout(time.Second) // sends pending acks; a lost one only costs a redelivery
	b.nc.Close()
}
