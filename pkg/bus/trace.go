package bus

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tieback/tieback/pkg/fault"
)

// With tracing enabled (telemetry.StartTraces) each attempt at a message is a span. Its parent is the span that published the
// message; the header traceparent (W3C) has the parent's context. With tracing disabled no header is written and
// spans cost nothing.
var (
	tracer     = otel.Tracer("github.com/tieback/tieback/pkg/bus")
	propagator propagation.TraceContext
)

// carrier implements propagation.TextMapCarrier. Unlike http.Header it does not canonicalize names.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }
func (c carrier) Keys() (keys []string) {
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// inject writes the span context of ctx into the headers of a message of the pipeline. It does nothing without a span.
func inject(ctx context.Context, m *nats.Msg) {
	if !trace.SpanContextFromContext(ctx).IsValid() || !strings.HasPrefix(m.Subject, "tb.") {
		return
	}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	propagator.Inject(ctx, carrier(m.Header))
}

// startSpan starts the span of an attempt at a message.
func startSpan(ctx context.Context, consumer string, h *prefetched) (context.Context, trace.Span) {
	ctx = propagator.Extract(ctx, carrier(h.Headers()))
	return tracer.Start(ctx, consumer, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.Int64("tieback.company", h.subject.Company), attribute.Int64("tieback.erp_request", h.subject.Request),
		attribute.String("tieback.event_type", h.subject.Type), attribute.String("tieback.run", h.subject.Run),
		attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", h.Subject()),
	))
}

// endSpan ends the span of an attempt with its verdict and error.
func endSpan(span trace.Span, attempt int, verdict string, err error) {
	span.SetAttributes(attribute.Int("tieback.attempt", attempt), attribute.String("tieback.verdict", verdict))
	if err != nil {
		span.SetAttributes(attribute.String("tieback.error_class", fault.ClassOf(err).String()))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
