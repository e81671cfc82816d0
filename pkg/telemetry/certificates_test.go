package telemetry

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Of several certificates of one use and company, the first that expires is exported. A source without a certificate exports nothing.
func TestCertificates(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var c Certificates
	c.Add(func() []Certificate { return []Certificate{{"broker", 0, at(500)}, {"connector", 7, at(900)}} })
	c.Add(func() []Certificate { return []Certificate{{"connector", 7, at(800)}, {"connector", 8, time.Time{}}} })
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(&c)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP tieback_certificate_expires_timestamp_seconds When a TLS certificate expires that this process uses or that a peer offered to it, as Unix time, by use and company; of several the first.
# TYPE tieback_certificate_expires_timestamp_seconds gauge
tieback_certificate_expires_timestamp_seconds{company="",use="broker"} 500
tieback_certificate_expires_timestamp_seconds{company="7",use="connector"} 800
`)); err != nil {
		t.Error(err)
	}
}

// A chain is worth as long as its first certificate, authorities as long as the last one.
func TestExpiryOfChainAndAuthorities(t *testing.T) {
	early, late := time.Unix(500, 0), time.Unix(900, 0)
	two := []*x509.Certificate{{NotAfter: late}, {NotAfter: early}}
	if first, last := ChainExpires(two), AuthoritiesExpire(two); !first.Equal(early) || !last.Equal(late) {
		t.Errorf("%v, %v", first, last)
	}
	if !ChainExpires(nil).IsZero() || !AuthoritiesExpire(nil).IsZero() {
		t.Error("no certificate has an expiry")
	}
}
