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

// StartTraces has spans sent to an OTLP collector at endpoint (http://host:4318; the path is /v1/traces
// if it has none); "" leaves traces off. Which traces are kept is OTEL_TRACES_SAMPLER's to say, all by
// default. A collector that is away costs traces and nothing else. Stop sends what is left.
func StartTraces(ctx context.Context, service, endpoint string, log *zap.Logger) (stop func(), err error) {
	if endpoint == "" {
		return func() {}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("TIEBACK_TRACES: %q is no http(s) URL of a collector; write it as http://collector:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_TRACES: %w", err)
	}
	otel.SetErrorHandler(&quietly{log: log})
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", service), attribute.String("service.namespace", "tieback"), attribute.String("service.version", Version),
	)))
	otel.SetTracerProvider(provider)
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = provider.Shutdown(ctx) // told by the error handler
	}, nil
}

// quietly logs that traces are lost, once a minute: a collector that is away is no reason to fill a log.
type quietly struct {
	log  *zap.Logger
	next atomic.Int64 // Unix nanoseconds
}

// Handle does otel.ErrorHandler.
func (q *quietly) Handle(err error) {
	now, next := time.Now(), q.next.Load()
	if now.UnixNano() >= next && q.next.CompareAndSwap(next, now.Add(time.Minute).UnixNano()) {
		q.log.Warn("traces are lost (TIEBACK_TRACES)", zap.Error(err))
	}
}
