package telemetry

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// StartTraces sends spans to the OTLP collector at endpoint, such as http://host:4318; the path is /v1/traces unless given.
// If endpoint is "", there are no traces. OTEL_TRACES_SAMPLER selects the traces, by default all. If the collector is
// unavailable, traces are lost and nothing else is affected. stop sends the remaining spans.
func StartTraces(ctx context.Context, service, endpoint string, log *zap.Logger) (stop func(), err error) {
	if endpoint == "" {
		return func() {}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("TIEBACK_TRACES: %q is not an http or https URL; write it as http://collector:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_TRACES: %w", err)
	}
	otel.SetErrorHandler(&rateLimited{log: log})
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", service), attribute.String("service.namespace", "tieback"), attribute.String("service.version", Version),
	)))
	otel.SetTracerProvider(provider)
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = provider.Shutdown(ctx) // the error handler logs it
	}, nil
}

// rateLimited logs that traces are lost, once a minute.
type rateLimited struct {
	log  *zap.Logger
	next atomic.Int64 // Unix nanoseconds
}

// Handle implements otel.ErrorHandler.
func (r *rateLimited) Handle(err error) {
	now, next := time.Now(), r.next.Load()
	if now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(time.Minute).UnixNano()) {
		r.log.Warn("traces are lost (TIEBACK_TRACES)", zap.Error(err))
	}
}
