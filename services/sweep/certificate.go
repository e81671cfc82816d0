package sweep

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/telemetry"
)

// webhookCertificates are the certificates that Procore is offered when it delivers: those of the companies' public addresses, which
// an ingress or load balancer has. The sweep looks at them because it already connects to the internet, and ingest can't see them.
type webhookCertificates struct {
	client *http.Client
	mu     sync.Mutex
	all    map[int64]time.Time // when the chain expires, by company
}

func newWebhookCertificates(client *http.Client) *webhookCertificates {
	return &webhookCertificates{client: client, all: map[int64]time.Time{}}
}

// addresses returns the public addresses of companies.
func addresses(companies company.Set) map[int64]string {
	all := map[int64]string{}
	for id, c := range companies {
		if strings.HasPrefix(c.URL, "https://") {
			all[id] = c.URL
		}
	}
	return all
}

// certificatesEvery is the time between two looks at the certificates.
const certificatesEvery = time.Hour

// watch looks at the certificates of some addresses, by company, at intervals until ctx ends.
func (w *webhookCertificates) watch(ctx context.Context, addresses map[int64]string) {
	tick := time.NewTicker(certificatesEvery)
	defer tick.Stop()
	for {
		byAddress := map[string]time.Time{}
		for company, address := range addresses {
			expires, asked := byAddress[address]
			if !asked {
				expires = w.look(ctx, address)
				byAddress[address] = expires
			}
			w.mu.Lock()
			w.all[company] = cmp.Or(expires, w.all[company]) // a certificate is the same while its address can't be reached
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look returns when the certificate at an address expires, also if it has expired or is not trusted; the zero time if there is no
// answer, or no TLS.
func (w *webhookCertificates) look(ctx context.Context, address string) time.Time {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return time.Time{}
	}
	answer, err := w.client.Do(request)
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		return telemetry.ChainExpires(refused.UnverifiedCertificates)
	}
	if err != nil {
		return time.Time{}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<10))
	_ = answer.Body.Close()
	var chain []*x509.Certificate
	if answer.TLS != nil {
		chain = answer.TLS.PeerCertificates
	}
	return telemetry.ChainExpires(chain)
}

// certificates is a source of telemetry.Certificates.
func (w *webhookCertificates) certificates() (all []telemetry.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for company, expires := range w.all {
		all = append(all, telemetry.Certificate{Use: "webhook", Company: company, Expires: expires})
	}
	return all
}
