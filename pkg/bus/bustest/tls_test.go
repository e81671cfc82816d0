package bustest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
)

// Options.CAFile has the certificate authority of the broker. It is read again when the broker returns with a certificate of
// another authority. Without it, a broker whose certificate no known authority signed is not trusted.
func TestBrokerCARotatesWithoutRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	certificate := func() tls.Certificate {
		pair, authority := selfSigned(t)
		if err := os.WriteFile(file, authority, 0o600); err != nil {
			t.Fatal(err)
		}
		return pair
	}
	o := server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()}
	pair := certificate()
	first := startTLS(t, o, pair)
	var offered atomic.Pointer[[]*x509.Certificate]
	b, err := bus.Connect(t.Context(), bus.Options{URL: first.ClientURL(), CAFile: file, Log: zap.NewNop(), Offered: func(chain []*x509.Certificate) { offered.Store(&chain) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	isOffered := func(pair tls.Certificate) {
		t.Helper()
		if chain := offered.Load(); chain == nil || !bytes.Equal((*chain)[0].Raw, pair.Certificate[0]) {
			t.Error("Offered was not called with the broker's certificate")
		}
	}
	isOffered(pair)

	core, logs := observer.New(zapcore.InfoLevel)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	refused := make(chan error, 1)
	go func() {
		_, err := bus.Connect(ctx, bus.Options{URL: first.ClientURL(), Log: zap.New(core)})
		refused <- err
	}()
	for ctx.Err() == nil && logs.Filter(func(e observer.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), "certificate")
	}).Len() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("no log entry names the certificate: %v", logs.All())
	}
	stop()
	if err := <-refused; err == nil {
		t.Error("a broker with a certificate of an unknown authority is trusted")
	}

	conn := b.JetStream().Conn()
	back := make(chan struct{})
	conn.SetReconnectHandler(func(*nats.Conn) { close(back) })
	o.Port = first.Addr().(*net.TCPAddr).Port
	bustest.Stop(first)
	pair = certificate()
	startTLS(t, o, pair)
	select {
	case <-back:
		isOffered(pair)
	case <-time.After(time.Minute):
		t.Fatalf("did not reconnect: %v", conn.LastError())
	}
}

func startTLS(t *testing.T, o server.Options, pair tls.Certificate) *server.Server {
	t.Helper()
	o.TLS, o.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	return bustest.Start(t, o)
}

// selfSigned returns a certificate that is its own authority, and that authority in PEM.
func selfSigned(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
