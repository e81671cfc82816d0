// Package telemetry is the observability of all services: a log line per attempt, Prometheus metrics, traces, and /healthz and
// /readyz on the admin port.
package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connlimit"
	"github.com/tieback/tieback/pkg/fault"
)

// Stages are the metrics of the pipeline's stages in one process.
type Stages struct {
	attempts *prometheus.CounterVec
	failures *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewStages returns the metrics, registered with reg.
func NewStages(reg prometheus.Registerer) (*Stages, error) {
	s := &Stages{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tieback_attempts_total", Help: "Attempts at an event, by stage, event type and verdict (done, again, throttled, dead).",
		}, []string{"stage", "type", "verdict"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tieback_attempt_failures_total", Help: "Attempts that ended with an error, by stage, the error's class (transient, permanent, throttled, ambiguous) and its cause (ours, company-data, erp, procore, limits).",
		}, []string{"stage", "class", "cause"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tieback_attempt_seconds", Help: "How long an attempt took, by stage.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10),
		}, []string{"stage"}),
	}
	return s, errors.Join(reg.Register(s.attempts), reg.Register(s.failures), reg.Register(s.seconds))
}

// Observer logs and counts each attempt of one stage.
func (s *Stages) Observer(stage string, log *zap.Logger) func(bus.Message, time.Duration, string, error) {
	log = log.With(zap.String("stage", stage))
	return func(m bus.Message, took time.Duration, verdict string, err error) {
		s.attempts.WithLabelValues(stage, m.Subject.Type, verdict).Inc()
		s.seconds.WithLabelValues(stage).Observe(took.Seconds())
		write := log.Info
		fields := []zap.Field{
			zap.Int64("company", m.Subject.Company), zap.Int64("erp_request", m.Subject.Request), zap.String("type", m.Subject.Type),
			zap.Int("attempt", m.Attempt), zap.Duration("took", took), zap.Duration("age", time.Since(m.Stored)), zap.String("verdict", verdict),
		}
		if err != nil {
			write = log.Warn
			s.failures.WithLabelValues(stage, fault.ClassOf(err).String(), cause(err)).Inc()
			fields = append(fields, zap.Stringer("class", fault.ClassOf(err)), zap.Error(err))
		}
		if r, reason := result(m, verdict, err); r != "" {
			fields = append(fields, zap.String("outcome", string(r)))
			if reason != "" {
				fields = append(fields, zap.String("reason", reason))
			}
		}
		write("attempt", fields...)
	}
}

// result returns the result of the request and the reason. "" means that the attempt did not end the request, or that its handler
// reports no result.
func result(m bus.Message, verdict string, err error) (bus.Result, string) {
	switch {
	case verdict == "dead" && fault.CauseOf(err) == fault.CompanyData:
		return bus.ResultRefused, fault.UserMessage(err, "")
	case verdict == "dead":
		return bus.ResultFailed, fault.UserMessage(err, "")
	case verdict == "done" && m.End != nil:
		return m.End.Result, m.End.Reason
	}
	return "", ""
}

// cause returns an error's cause as a label value, as tieback dead shows it.
func cause(err error) string { return strings.ReplaceAll(fault.CauseOf(err).String(), " ", "-") }

// ServeAdmin serves /metrics, /healthz and /readyz at addr until ctx ends. ready returns nil if the service is ready, and the
// reason otherwise.
func ServeAdmin(ctx context.Context, addr string, reg prometheus.Gatherer, ready func() error) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("TIEBACK_ADMIN_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return Serve(ctx, l, mux)
}

// Ready asks the service with admin address addr on this machine whether it is ready. Its error has the reason.
func Ready(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("TIEBACK_ADMIN_ADDR: %w", err)
	}
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://127.0.0.1:" + port + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // on an error, show what was read
		return fmt.Errorf("not ready: %s: %s", resp.Status, bytes.TrimSpace(why))
	}
	return nil
}

// maxAdminConnections is how many connections Serve keeps open. They use at most an eighth of the file descriptors.
const maxAdminConnections = 128

// Serve serves HTTP on l until ctx ends, then waits up to five seconds for requests in progress. It limits the open connections;
// see package connlimit.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	return ServeWith(ctx, connlimit.New(connlimit.Share(maxAdminConnections, 8)).Limit(srv, l), srv)
}

// ServeWith is like Serve with the caller's server and without a limit. The server can't be used again.
func ServeWith(ctx context.Context, l net.Listener, srv *http.Server) error {
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(grace) // Close interrupts the remaining requests
		_ = srv.Close()
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		if !stop() {
			<-drained
		}
		return err
	}
	<-drained
	return nil
}
