// Package ingest receives Procore's webhooks. It answers 2xx only after the broker has stored the delivery on disk. It does not
// fetch the ERP request of the delivery.
package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connlimit"
	"github.com/tieback/tieback/pkg/procore/delivery"
	"github.com/tieback/tieback/pkg/telemetry"
)

const (
	// Limits of the public port, which protect it before a caller is authenticated. A delivery has about 1 KiB of headers.
	// A connection that waits for its headers costs up to 50 KiB; 2,048 of them took 142 MiB (measured with command flood).
	maxHeader      = 16 << 10
	maxConnections = 2048

	maxBody = 256 << 10
	// requestTimeout is the time to read and store a delivery. Procore gives up 5 seconds after it connects.
	requestTimeout = 3500 * time.Millisecond
)

// Service is the webhook receiver.
type Service struct {
	bus        *bus.Bus
	authentic  func(company int64, token string) bool // tokenhash.File.Authentic; company.Set.Authentic in the command `tieback run`
	log        *zap.Logger
	sampled    *zap.Logger // at most five lines per minute with the same message, for requests without authentication
	open       *connlimit.Connections
	deliveries *prometheus.CounterVec
}

// results are the results of a request; see Handler.
var results = []string{"accepted", "duplicate", "other", "unauthorized", "malformed", "unavailable", "not_found"}

// New returns the service and registers its metrics with reg. authentic reports whether a token is one of the company's. It
// must take constant time, also for unknown companies.
func New(b *bus.Bus, authentic func(company int64, token string) bool, log *zap.Logger, reg prometheus.Registerer) (*Service, error) {
	s := &Service{bus: b, authentic: authentic, log: log, open: connlimit.New(connlimit.Share(maxConnections, 2)), deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_deliveries_total", Help: "Webhook deliveries by result (" + strings.Join(results, ", ") + ").",
	}, []string{"result"})}
	s.sampled = log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewSamplerWithOptions(c, time.Minute, 5, 0) }))
	for _, result := range results {
		s.deliveries.WithLabelValues(result) // exported as 0 from the start, so that Prometheus sees the first one as an increase
	}
	return s, reg.Register(s.deliveries)
}

// Run serves on l until ctx ends, and closes l.
func (s *Service) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 2 * time.Second, ReadTimeout: requestTimeout, WriteTimeout: 2 * requestTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: zap.NewStdLog(s.sampled),
	}
	return telemetry.ServeWith(ctx, s.open.Limit(srv, l), srv)
}

// Handler is the one endpoint: POST /webhooks/procore/{company_id}.
//
//	200  stored on disk (accepted), stored before (duplicate), or not about a new ERP request (other)
//	400  malformed; the body has the reason
//	401  unknown company or wrong token; the answer is the same for both
//	404  no such path
//	405  another method than POST
//	413  too large
//	503  the broker can't store it now; Procore sends it again
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/procore/{company_id}", s.receive)
	mux.HandleFunc("/webhooks/procore/{company_id}", s.wrongMethod)
	mux.HandleFunc("/", s.notFound)
	return mux
}

// notFound answers with the path of deliveries. A webhook URL with a trailing slash ends up here.
func (s *Service) notFound(w http.ResponseWriter, r *http.Request) {
	s.sampled.Warn("request to an unknown path: the webhook's URL must end in /webhooks/procore/COMPANY, without a slash; `tieback setup` corrects it",
		zap.String("method", r.Method), zap.String("path", r.URL.Path[:min(len(r.URL.Path), 200)]))
	s.answer(w, http.StatusNotFound, "not_found", "Deliveries are POSTed to /webhooks/procore/COMPANY, without a slash at the end.")
}

// wrongMethod answers requests to the path of deliveries that are not a POST, such as those of a person who tries the URL in a browser.
func (s *Service) wrongMethod(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	s.answer(w, http.StatusMethodNotAllowed, "not_found", "Deliveries are POSTed to this URL.")
}

// tracer starts the trace of an event when its delivery is authenticated; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/services/ingest")

// companyOf returns the company id in a request's path, 0 if it is not a positive 64-bit integer.
func companyOf(r *http.Request) int64 {
	id, err := strconv.ParseUint(r.PathValue("company_id"), 10, 63)
	if err != nil {
		return 0
	}
	return int64(id) //nolint:gosec // it has 63 bits
}

// receive authenticates a delivery, parses it and stores it.
func (s *Service) receive(w http.ResponseWriter, r *http.Request) {
	id := companyOf(r)
	if !s.authentic(id, bearer(r)) {
		w.Header().Set("Connection", "close") // each guess of a token needs a new connection
		s.answer(w, http.StatusUnauthorized, "unauthorized", "The Authorization header has no webhook token of this company.")
		return
	}
	s.open.Keep(r)
	r, done := withTimeout(w, r)
	defer done()
	ctx, span := tracer.Start(r.Context(), "ingest", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.Int64("tieback.company", id)))
	defer span.End()
	r = r.WithContext(ctx)
	body, err := read(w, r)
	if err != nil {
		s.unreadable(w, err)
		return
	}
	d, err := delivery.Parse(body)
	switch {
	case errors.Is(err, delivery.ErrOther):
		s.answer(w, http.StatusOK, "other", "Not a new ERP request: nothing to do.")
		return
	case err == nil && d.CompanyId != id:
		err = fmt.Errorf("the delivery is of company %d, but was sent to the address of company %d", d.CompanyId, id)
	}
	if err != nil {
		s.log.Warn("delivery refused", zap.Int64("company", id), zap.Error(err))
		s.answer(w, http.StatusBadRequest, "malformed", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	data, err := proto.Marshal(d)
	if err != nil {
		s.answer(w, http.StatusBadRequest, "malformed", err.Error())
		return
	}
	s.store(w, r, bus.For(bus.Delivery, "", d.CompanyId, d.ErpRequestId), data)
}

// bearer returns the token of the Authorization header; "": there is none. The scheme is case-insensitive.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

var bom = []byte("\xef\xbb\xbf")

// read reads a body of at most maxBody bytes, before and after decompression, and removes a byte order mark.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		body, err := io.ReadAll(limited)
		return bytes.TrimPrefix(body, bom), err
	}
	plain, err := gzip.NewReader(limited)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(plain, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = &http.MaxBytesError{Limit: maxBody}
	}
	return bytes.TrimPrefix(body, bom), err
}

// withTimeout limits the time of a request, including the reading of its body.
func withTimeout(w http.ResponseWriter, r *http.Request) (*http.Request, context.CancelFunc) {
	deadline := time.Now().Add(requestTimeout)
	_ = http.NewResponseController(w).SetReadDeadline(deadline) // on error, the server's ReadTimeout applies
	ctx, done := context.WithDeadline(r.Context(), deadline)
	return r.WithContext(ctx), done
}

// unreadable answers a request whose body could not be read.
func (s *Service) unreadable(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.answer(w, http.StatusRequestEntityTooLarge, "malformed", fmt.Sprintf("A delivery has at most %d bytes; this body is larger.", maxBody))
		return
	}
	s.answer(w, http.StatusBadRequest, "malformed", "The body is incomplete or can't be decompressed.")
}

// store publishes a delivery and answers when it is on disk.
func (s *Service) store(w http.ResponseWriter, r *http.Request, subject bus.Subject, data []byte) {
	trace.SpanFromContext(r.Context()).SetAttributes(attribute.Int64("tieback.erp_request", subject.Request))
	err := s.bus.Publisher(bus.Delivery).PublishNew(r.Context(), &nats.Msg{Subject: subject.String(), Data: data})
	switch {
	case err == nil:
		s.answer(w, http.StatusOK, "accepted", "Stored on disk.")
	case errors.Is(err, bus.ErrDuplicate):
		s.answer(w, http.StatusOK, "duplicate", "Stored before.")
	default:
		s.log.Error("delivery could not be stored", zap.Stringer("subject", subject), zap.Error(err))
		s.answer(w, http.StatusServiceUnavailable, "unavailable", "The delivery can't be stored now. Send it again.")
	}
}

// answer counts a result and answers the request with it.
func (s *Service) answer(w http.ResponseWriter, status int, result, message string) {
	s.deliveries.WithLabelValues(result).Inc()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s: %s\n", result, message)
}
