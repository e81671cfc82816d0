package telemetry

import (
	"crypto/x509"
	"encoding/pem"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is a TLS certificate that a process uses, or that a peer offers to it.
type Certificate struct {
	Use     string    // such as broker or connector; one of few values
	Company int64     // 0: of no company
	Expires time.Time // zero: not exported
}

// Certificates exports to Prometheus when certificates expire. The zero value exports nothing. Its methods may be called concurrently.
type Certificates struct {
	mu      sync.Mutex
	sources []func() []Certificate
}

// Add adds a source, which is called for each scrape and must not block.
func (c *Certificates) Add(source func() []Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources = append(c.sources, source)
}

var certificateExpires = prometheus.NewDesc("tieback_certificate_expires_timestamp_seconds",
	"When a TLS certificate expires that this process uses or that a peer offered to it, as Unix time, by use and company; of several the first.",
	[]string{"use", "company"}, nil)

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(ch chan<- *prometheus.Desc) { ch <- certificateExpires }

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	sources := c.sources
	c.mu.Unlock()
	type key struct {
		use     string
		company int64
	}
	first := map[key]time.Time{}
	for _, source := range sources {
		for _, cert := range source() {
			k := key{cert.Use, cert.Company}
			if was, there := first[k]; !cert.Expires.IsZero() && (!there || cert.Expires.Before(was)) {
				first[k] = cert.Expires
			}
		}
	}
	for k, at := range first {
		company := ""
		if k.company != 0 {
			company = strconv.FormatInt(k.company, 10)
		}
		ch <- prometheus.MustNewConstMetric(certificateExpires, prometheus.GaugeValue, float64(at.Unix()), k.use, company)
	}
}

// ChainExpires returns when the first certificate of a chain expires; the zero time for no certificates. From then on a peer refuses the chain.
func ChainExpires(chain []*x509.Certificate) (first time.Time) {
	for _, c := range chain {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// AuthoritiesExpire returns when the last of some certificate authorities expires; the zero time for no certificates. During the
// rotation of an authority there are two, and the older one may expire.
func AuthoritiesExpire(authorities []*x509.Certificate) (last time.Time) {
	for _, c := range authorities {
		if c.NotAfter.After(last) {
			last = c.NotAfter
		}
	}
	return last
}

// ParseCertificates returns the certificates in PEM. It skips all else.
func ParseCertificates(text []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
}
