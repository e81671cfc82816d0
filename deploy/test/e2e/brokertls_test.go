package endtoend

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
)

// TIEBACK_NATS_CA_FILE says whom to trust as the broker, and is read again when the broker comes
// back with a certificate of another authority.
func TestTheBrokersAuthorityIsTrustedAndRotates(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	certificate := func() tls.Certificate {
		pair, authority := selfSigned(t)
		if err := os.WriteFile(file, authority, 0o600); err != nil {
			t.Fatal(err)
		}
		return pair
	}
	options := server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()}
	old := secureBroker(t, options, certificate())
	log := &ears{more: make(chan struct{})}
	b, err := bus.Connect(t.Context(), bus.Options{URL: old.ClientURL(), CAFile: file, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	stranger, stop := context.WithCancel(t.Context())
	heard := &ears{more: make(chan struct{})}
	refused := make(chan error, 1)
	go func() {
		_, err := bus.Connect(stranger, bus.Options{URL: old.ClientURL(), Log: heard.logger()})
		refused <- err
	}()
	heard.await(t, 0, "waiting for the broker", "certificate")
	stop()
	if err := <-refused; err == nil {
		t.Error("a broker that nobody vouches for is trusted")
	}
	conn := b.JetStream().Conn()
	back := make(chan struct{})
	conn.SetReconnectHandler(func(*nats.Conn) { close(back) })
	options.Port = old.Addr().(*net.TCPAddr).Port
	bustest.Stop(old)
	secureBroker(t, options, certificate())
	select {
	case <-back:
	case <-time.After(patience):
		t.Fatalf("not connected again: %v", conn.LastError())
	}
}

func secureBroker(t *testing.T, o server.Options, pair tls.Certificate) *server.Server {
	t.Helper()
	o.TLS, o.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	return bustest.Start(t, o)
}

// selfSigned is a certificate that is its own authority, and that in PEM.
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
