package connector

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// tracer: each call of an ERP is a span, waiting for its turn included; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/pkg/connector")

// unlimited is how many calls run at once for an ERP that bears any number.
const unlimited = 1024

// How a call is made again, by the class of its error. The event itself comes again later
// in any case; this only spares it that for a hiccup.
//
//	permanent  never
//	throttled  not here: the event waits until then, and holds no worker
//	transient  twice more, after about 50 and 200 ms, but not where it took longest
//	ambiguous  not here: Book looks it up by key first
const (
	tries = 3
	pause = 50 * time.Millisecond
)

// longest is how long a driver may take for a call; it holds one of the ERP's slots meanwhile. The
// drivers' own limits are a little shorter, and say better what happened.
const longest = 6 * time.Minute

// kind is what a call does to the ERP.
type kind int

const (
	reads  kind = iota
	writes      // an error that nobody classed is ambiguous
	asks        // for the capabilities, which say how many may call at once
)

// call makes one call of the driver: counted, measured, among no more at once than the ERP
// bears, and made again by class.
func call[Q, A proto.Message](ctx context.Context, e *ERP, operation string, k kind, q Q, f func(context.Context, Q) (A, error)) (A, error) {
	var none A
	ctx, span := tracer.Start(ctx, "erp "+operation, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if k != asks {
		if _, err := e.Capabilities(ctx); err != nil {
			return none, err
		}
		release, err := e.slot(ctx)
		if err != nil {
			return none, err
		}
		defer release()
	}
	for try := 1; ; try++ {
		start := time.Now()
		limited, cancel := context.WithTimeout(ctx, longest)
		ended := e.trouble.Begin(e.Company)
		a, err := f(limited, q)
		tookTooLong := limited.Err() != nil
		cancel()
		if err == nil && !a.ProtoReflect().IsValid() {
			err = fault.New(fault.Permanent, fmt.Errorf("connector gave no answer to %s", operation))
		}
		err = ended(fault.From(fault.FromERP, classed(err, k)))
		e.observe(operation, time.Since(start), err)
		if err == nil {
			return a, nil
		}
		if fault.ClassOf(err) != fault.Transient || tookTooLong || try == tries || !wait(ctx, try) {
			span.SetStatus(codes.Error, err.Error())
			return none, err
		}
	}
}

// patience is how long a call waits for its turn. Then the event waits with the broker, so
// that a slow ERP does not hold the workers of other companies.
const patience = 5 * time.Second

// slot waits for its turn to call; what it returns gives the turn back.
func (e *ERP) slot(ctx context.Context) (release func(), err error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	release, err = e.slots.acquire(limited)
	switch {
	case err == nil:
		return release, nil
	case ctx.Err() != nil:
		return nil, fault.New(fault.Transient, ctx.Err())
	}
	return nil, e.busy()
}

// busy is the error of a call that had no turn: the ERP is at work on others, or does not answer them.
func (e *ERP) busy() error {
	wait := time.Second + rand.N(4*time.Second)
	if t, bad := e.trouble.Now(e.Company, fault.FromERP, time.Now(), trouble.Silent); bad && t.Reason == fault.NoAnswer {
		return &fault.Error{
			Class: fault.Throttled, Source: fault.FromERP, Reason: fault.NoAnswer, Since: t.Since, RetryAfter: wait,
			Err: fmt.Errorf("the ERP answers none of the calls under way, which are as many as it bears: %s", t.Error),
		}
	}
	return &fault.Error{
		Class: fault.Throttled, Source: fault.FromERP, Reason: fault.Busy, RetryAfter: wait, Err: errors.New("the ERP is busy with as many calls as it bears"),
	}
}

// Trouble says whether the ERP does its part; false: nothing is known to be wrong. silent is how long a call
// may be under way.
func (e *ERP) Trouble(now time.Time, silent time.Duration) (trouble.Trouble, bool) {
	return e.trouble.Now(e.Company, fault.FromERP, now, silent)
}

// classed makes sure that a write of which nobody knows whether it happened is ambiguous.
func classed(err error, k kind) error {
	var known *fault.Error
	if err == nil || k != writes || errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Ambiguous, err)
}

// wait waits before the next try; false: ctx ended.
func wait(ctx context.Context, try int) bool {
	d := pause << (2 * (try - 1))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d/2 + rand.N(d)):
		return true
	}
}

// Metrics count and time the calls of all companies' connectors; one set for a process.
type Metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	unopened *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tieback_connector_calls_total", Help: "Calls of connectors, by operation and result: ok, or the class of the error.",
		}, []string{"company", "operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tieback_connector_call_seconds", Help: "How long a call of a connector took, by operation.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10),
		}, []string{"operation"}),
		unopened: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tieback_connector_unopened", Help: "1: the company's connector refused its settings at the start, and its events can't be worked.",
		}, []string{"company"}),
	}
	return m, errors.Join(reg.Register(m.calls), reg.Register(m.seconds), reg.Register(m.unopened))
}

// Opened notes whether a company's connector could be opened. On nil it does nothing.
func (m *Metrics) Opened(company int64, opened bool) {
	if m == nil {
		return
	}
	unopened := 1.0
	if opened {
		unopened = 0
	}
	m.unopened.WithLabelValues(strconv.FormatInt(company, 10)).Set(unopened)
}

func (e *ERP) observe(operation string, took time.Duration, err error) {
	result := "ok"
	if err != nil {
		result = fault.ClassOf(err).String()
		if fault.ClassOf(err) != fault.Permanent {
			e.Log.Warn("connector call", zap.Int64("company", e.Company), zap.String("operation", operation),
				zap.Duration("took", took), zap.String("class", result), zap.Error(err))
		}
	}
	if e.Metrics != nil {
		e.Metrics.calls.WithLabelValues(strconv.FormatInt(e.Company, 10), operation, result).Inc()
		e.Metrics.seconds.WithLabelValues(operation).Observe(took.Seconds())
	}
}
