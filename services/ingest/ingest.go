// Package ingest receives Procore's webhooks. It answers 2xx only once the broker has the
// delivery on disk, and knows nothing of what the delivery is about.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/telemetry"
)

const (
	maxBody = 256 << 10
	// patience with the broker: Procore gives up 5 seconds after it connected.
	patience = 3500 * time.Millisecond
)

// Service is the webhook receiver.
type Service struct {
	bus        *bus.Bus
	companies  company.Set
	log        *zap.Logger
	deliveries *prometheus.CounterVec
}

// New makes the service; reg gets its metrics.
func New(b *bus.Bus, companies company.Set, log *zap.Logger, reg prometheus.Registerer) (*Service, error) {
	s := &Service{bus: b, companies: companies, log: log, deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_deliveries_total", Help: "Webhook deliveries by what became of them (accepted, duplicate, other, unauthorized, malformed, unavailable).",
	}, []string{"result"})}
	for _, result := range []string{"accepted", "duplicate", "other", "unauthorized", "malformed", "unavailable"} {
		s.deliveries.WithLabelValues(result) // there from the start: the first one is an increase
	}
	return s, reg.Register(s.deliveries)
}

// Run serves on l until ctx ends, and closes l.
func (s *Service) Run(ctx context.Context, l net.Listener) error {
	return telemetry.Serve(ctx, l, s.Handler())
}

// Handler is the one endpoint: POST /webhooks/procore/{company_id}.
//
//	200  on disk: accepted, or duplicate, or about something else (other)
//	400  malformed, with a sentence    401  unknown company or wrong token, not told apart
//	413  too large                     503  the broker can't take it now: send it again
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/procore/{company_id}", s.receive)
	return mux
}

// tracer: an authentic delivery begins the trace of its event; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/services/ingest")

func (s *Service) receive(w http.ResponseWriter, r *http.Request) {
	id, _ := id(r.PathValue("company_id")).number("") // 0, an unknown company, where it is none
	co := s.companies[id]
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !co.Authentic(token) {
		s.answer(w, http.StatusUnauthorized, "unauthorized", "This company's webhook token was not given in the Authorization header, or is not the right one.")
		return
	}
	r, done := patient(w, r)
	defer done()
	ctx, span := tracer.Start(r.Context(), "ingest", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.Int64("tieback.company", id)))
	defer span.End()
	r = r.WithContext(ctx)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.unreadable(w, err)
		return
	}
	d, err := Parse(body)
	switch {
	case errors.Is(err, errOther):
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

// patient bounds the whole of a delivery, its body included.
func patient(w http.ResponseWriter, r *http.Request) (*http.Request, context.CancelFunc) {
	deadline := time.Now().Add(patience)
	_ = http.NewResponseController(w).SetReadDeadline(deadline) // where it can't be set, the server's own holds
	ctx, done := context.WithDeadline(r.Context(), deadline)
	return r.WithContext(ctx), done
}

func (s *Service) unreadable(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.answer(w, http.StatusRequestEntityTooLarge, "malformed", fmt.Sprintf("A delivery has at most %d bytes; this body is larger.", maxBody))
		return
	}
	s.answer(w, http.StatusBadRequest, "malformed", "The body could not be read to its end.")
}

func (s *Service) store(w http.ResponseWriter, r *http.Request, subject bus.Subject, data []byte) {
	trace.SpanFromContext(r.Context()).SetAttributes(attribute.Int64("tieback.erp_request", subject.Request))
	err := s.bus.Publisher(bus.Delivery).Publish(r.Context(), bus.Once(&nats.Msg{Subject: subject.String(), Data: data}))
	switch {
	case err == nil:
		s.answer(w, http.StatusOK, "accepted", "On disk.")
	case errors.Is(err, bus.ErrDuplicate):
		s.answer(w, http.StatusOK, "duplicate", "Already here.")
	default:
		s.log.Error("delivery could not be stored", zap.Stringer("subject", subject), zap.Error(err))
		s.answer(w, http.StatusServiceUnavailable, "unavailable", "The delivery can't be stored now. Send it again.")
	}
}

func (s *Service) answer(w http.ResponseWriter, status int, result, sentence string) {
	s.deliveries.WithLabelValues(result).Inc()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s: %s\n", result, sentence)
}
