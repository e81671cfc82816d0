package sweep

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// The expiry of the certificate at a company's public address is known whether it is trusted or not. Without TLS there is none.
func TestWebhookCertificates(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	secure, plain := httptest.NewTLSServer(answers), httptest.NewServer(answers)
	defer secure.Close()
	defer plain.Close()
	want := secure.Certificate().NotAfter
	for name, client := range map[string]*http.Client{"trusted": secure.Client(), "not trusted": {}} {
		if got := newWebhookCertificates(client).look(t.Context(), secure.URL); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := newWebhookCertificates(&http.Client{}).look(t.Context(), plain.URL); !got.IsZero() {
		t.Errorf("without TLS: %v", got)
	}

	with, without := company.New(7, company.Secrets{}), company.New(8, company.Secrets{})
	with.URL, without.URL = secure.URL, plain.URL
	w := newWebhookCertificates(secure.Client())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.watch(ctx, addresses(company.Set{7: with, 8: without})) }()
	for end := time.Now().Add(10 * time.Second); len(w.certificates()) == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
	if got := w.certificates(); len(got) != 1 || got[0].Use != "webhook" || got[0].Company != 7 || !got[0].Expires.Equal(want) {
		t.Errorf("%+v", got)
	}
}
