package bus

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
)

// Only messages of the pipeline have a trace header, and only if tracing is enabled.
func TestInject(t *testing.T) {
	m := &nats.Msg{Subject: "tb.delivery._._.7.1"}
	inject(t.Context(), m)
	if m.Header != nil {
		t.Errorf("with tracing disabled: %v", m.Header)
	}
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	state := &nats.Msg{Subject: "$KV.tieback-state.cursor.7.swept"}
	inject(ctx, m)
	inject(ctx, state)
	if got := trace.SpanContextFromContext(propagator.Extract(context.Background(), carrier(m.Header))); got.TraceID() != (trace.TraceID{1}) || got.SpanID() != (trace.SpanID{2}) {
		t.Errorf("read back: %v", got)
	}
	if state.Header != nil {
		t.Errorf("a key of the state bucket has %v", state.Header)
	}
}
