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

// tracer makes a span of each call to an ERP, including its wait in the queue; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/pkg/connector")

// unlimited is the number of concurrent calls to an ERP without a limit.
const unlimited = 1024

// How a call is retried, by the class of its error. After a temporary error the event is retried later anyway;
// these retries only make that unnecessary after a short interruption.
//
//	permanent  never
//	throttled  not here: the event is retried after the time given, and occupies no worker until then
//	transient  twice, after about 50 and 200 ms, unless the call timed out
//	ambiguous  not here: Book looks the record up by key first
const (
	maxAttempts = 3
	retryDelay  = 50 * time.Millisecond
)

// callTimeout is how long a driver may take for a call, which occupies a slot of the ERP. The drivers' own
// timeouts are a little shorter and have more specific errors.
const callTimeout = 6 * time.Minute

// callKind is the effect of a call on the ERP.
type callKind int

const (
	readCall         callKind = iota
	writeCall                 // an unclassified error is ambiguous
	capabilitiesCall          // its answer has the concurrency limit, so it is made without one
)

// call makes one call of the driver. It counts and measures the call, keeps to the ERP's concurrency limit,
// and retries by error class.
func call[Q, A proto.Message](ctx context.Context, e *ERP, operation string, k callKind, q Q, f func(context.Context, Q) (A, error)) (A, error) {
	var none A
	ctx, span := tracer.Start(ctx, "erp "+operation, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	if k != capabilitiesCall {
		if _, err := e.Capabilities(ctx); err != nil {
			return none, err
		}
		release, err := e.acquire(ctx)
		if err != nil {
			return none, err
		}
		defer release()
	}
	for attempt := 1; ; attempt++ {
		start := time.Now()
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		ended := e.trouble.Begin(e.Company)
		a, err := f(limited, q)
		timedOut := limited.Err() != nil
		cancel()
		if err == nil && !a.ProtoReflect().IsValid() {
			err = fault.New(fault.Permanent, fmt.Errorf("connector gave no answer to %s", operation))
		}
		err = ended(fault.From(fault.FromERP, classify(err, k)))
		e.observe(operation, time.Since(start), err)
		if err == nil {
			return a, nil
		}
		if fault.ClassOf(err) != fault.Transient || timedOut || attempt == maxAttempts || !wait(ctx, attempt) {
			span.SetStatus(codes.Error, err.Error())
			return none, err
		}
	}
}

// queueTimeout is how long a call waits in the queue. After that the event waits at the broker, so that a
// slow ERP does not occupy the workers of other companies.
const queueTimeout = 5 * time.Second

// acquire waits for a slot of the ERP's concurrency limit. release frees it.
func (e *ERP) acquire(ctx context.Context) (release func(), err error) {
	limited, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	release, err = e.calls.acquire(limited)
	switch {
	case err == nil:
		return release, nil
	case ctx.Err() != nil:
		return nil, fault.New(fault.Transient, ctx.Err())
	}
	return nil, e.busy()
}

// busy returns the error of a call that got no slot: the ERP is busy with other calls, or does not answer
// them.
func (e *ERP) busy() error {
	wait := time.Second + rand.N(4*time.Second)
	if t, bad := e.trouble.Now(e.Company, fault.FromERP, time.Now(), trouble.Silent); bad && t.Reason == fault.NoAnswer {
		return &fault.Error{
			Class: fault.Throttled, Source: fault.FromERP, Reason: fault.NoAnswer, Since: t.Since, RetryAfter: wait,
			Err: fmt.Errorf("the ERP answers none of the calls in flight, and its concurrency limit is reached: %s", t.Error),
		}
	}
	return &fault.Error{
		Class: fault.Throttled, Source: fault.FromERP, Reason: fault.Busy, RetryAfter: wait, Err: errors.New("the ERP's concurrency limit is reached"),
	}
}

// Trouble returns the current trouble of the ERP, and false if no trouble is known. silent is how long a call may
// be in flight without an answer.
func (e *ERP) Trouble(now time.Time, silent time.Duration) (trouble.Trouble, bool) {
	return e.trouble.Now(e.Company, fault.FromERP, now, silent)
}

// classify makes an unclassified error of a write ambiguous, because the write may have happened.
func classify(err error, k callKind) error {
	var known *fault.Error
	if err == nil || k != writeCall || errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Ambiguous, err)
}

// wait waits before the next attempt. It returns false if ctx ended.
func wait(ctx context.Context, attempt int) bool {
	d := retryDelay << (2 * (attempt - 1))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d/2 + rand.N(d)):
		return true
	}
}

// Metrics counts and times the calls of all companies' connectors. A process has one.
type Metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	unopened *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tieback_connector_calls_total", Help: "Connector calls by operation and result: ok, or the class of the error.",
		}, []string{"company", "operation", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tieback_connector_call_seconds", Help: "Duration of connector calls by operation.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10),
		}, []string{"operation"}),
		unopened: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tieback_connector_unopened", Help: "1 if the company's connector refused its settings at the start. Its events can't be processed.",
		}, []string{"company"}),
	}
	return m, errors.Join(reg.Register(m.calls), reg.Register(m.seconds), reg.Register(m.unopened))
}

// Opened records whether a company's connector could be opened. It does nothing on a nil Metrics.
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
			e.Log.Warn("connector call failed", zap.Int64("company", e.Company), zap.String("operation", operation),
				zap.Duration("took", took), zap.String("class", result), zap.Error(err))
		}
	}
	if e.Metrics != nil {
		e.Metrics.calls.WithLabelValues(strconv.FormatInt(e.Company, 10), operation, result).Inc()
		e.Metrics.seconds.WithLabelValues(operation).Observe(took.Seconds())
	}
}
