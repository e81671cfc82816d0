// Package reference is a pipeline written by hand on nats.go, for the benchmark to compare Tieback with. It does the same
// work for one event type, the export of a commitment, as an integrator would without Tieback:
//
//	webhook ──▶ fetch ──▶ GET the ERP request ──▶ book ──▶ the ERP ──▶ report ──▶ external data, then the request detail
//
//	fetch, book, report: a JetStream stream each. The broker syncs a message before the step that wrote it is acknowledged.
//
// Every step happens at least once, and duplicate deliveries are refused by the subject of the request. That is all it
// promises: it has no other event types, failures are retried without end, no user learns of them, the ERP alone prevents a second booking,
// Procore's limits are ignored, one company can delay another, and missed deliveries are lost.
//
// It imports none of Tieback's packages. Only the command `tieback bench` contains it.
package reference

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config configures Run.
type Config struct {
	Listen       string // host:port of the webhook
	NATS         string // URL of the broker
	Procore      string // base URL of Procore's API and login
	ERP          string // base URL of the ERP
	Company      int64
	ClientID     string
	ClientSecret string
	WebhookToken string
}

const (
	concurrency = 32               // of each step
	ackWait     = 30 * time.Second // also the time limit of a step
	retryAfter  = time.Second
)

type pipeline struct {
	js      jetstream.JetStream
	procore *procore
	erp     *erp
}

// step handles the messages of a stream. Its result, if any, is published to the next stream.
type step struct {
	stream, next string
	do           func(ctx context.Context, request int64, data []byte) ([]byte, error)
}

// Run serves the webhook and processes events until ctx ends.
func Run(ctx context.Context, c Config) error {
	nc, err := nats.Connect(c.NATS, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		return err
	}
	client := newClient()
	p := &pipeline{js: js, procore: &procore{Config: c, client: client}, erp: &erp{url: c.ERP, client: client}}
	for _, s := range []step{
		{stream: "fetch", next: "book", do: func(ctx context.Context, request int64, _ []byte) ([]byte, error) {
			return p.procore.request(ctx, request)
		}},
		{stream: "book", next: "report", do: p.erp.book},
		{stream: "report", do: p.procore.report},
	} {
		if err := p.consume(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.stream, err)
		}
	}
	return p.serve(ctx, c)
}

// consume creates the stream and the consumer of a step, and starts it.
func (p *pipeline) consume(ctx context.Context, s step) error {
	_, err := p.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: s.stream, Subjects: []string{"ref." + s.stream + ".>"}, Storage: jetstream.FileStorage, MaxAge: 30 * 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	consumer, err := p.js.CreateOrUpdateConsumer(ctx, s.stream, jetstream.ConsumerConfig{
		Durable: s.stream, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: 4000, MaxDeliver: -1,
	})
	if err != nil {
		return err
	}
	slots := make(chan struct{}, concurrency)
	_, err = consumer.Consume(func(m jetstream.Msg) {
		slots <- struct{}{}
		go func() {
			ctx, cancel := context.WithTimeout(ctx, ackWait)
			defer cancel()
			p.handle(ctx, s, m, func() { <-slots })
		}()
	}, jetstream.PullMaxMessages(500))
	return err
}

// handle runs a step, publishes its result and acknowledges the message. It calls done when the step itself has ended.
func (p *pipeline) handle(ctx context.Context, s step, m jetstream.Msg, done func()) {
	id := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	request, err := strconv.ParseInt(id, 10, 64)
	var result []byte
	if err == nil {
		result, err = s.do(ctx, request, m.Data())
	}
	done()
	if err == nil && s.next != "" {
		err = p.publish(ctx, s.next, id, result)
	}
	if err != nil {
		log.Printf("%s: %v", m.Subject(), err)
		_ = m.NakWithDelay(retryAfter)
		return
	}
	_ = m.Ack()
}

// publish returns when the message is on disk. A message that is there already is no error.
func (p *pipeline) publish(ctx context.Context, stream, request string, data []byte) error {
	f, err := p.js.PublishAsync("ref."+stream+"."+request, data, jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil {
		return err
	}
	select {
	case <-f.Ok():
		return nil
	case err = <-f.Err():
	case <-ctx.Done():
		err = ctx.Err()
	}
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil
	}
	return err
}

// serve serves the webhook until ctx ends.
func (p *pipeline) serve(ctx context.Context, c Config) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/procore/{company}", p.webhook(c.WebhookToken))
	srv := &http.Server{Addr: c.Listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}
