package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// driver is an ERP whose Put is a function. Its other methods return empty answers.
type driver struct {
	put func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error)
}

func (driver) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{Name: "test"}, nil
}

func (d driver) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if d.put == nil {
		return &tiebackv1.PutResponse{Booking: &tiebackv1.Booking{OriginId: q.Key}}, nil
	}
	return d.put(ctx, q)
}

func (driver) Find(context.Context, *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return &tiebackv1.FindResponse{}, nil
}

func (driver) List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return &tiebackv1.ListResponse{}, nil
}

func (driver) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{}, nil
}

func (driver) Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return &tiebackv1.RemoveResponse{}, nil
}

func (driver) Close() error { return nil }

// served serves d until the test ends or stop is called. It returns the address.
func served(t testing.TB, d connector.Driver, c ServerConfig) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	c.Resolve = func(context.Context, int64) (connector.Driver, error) { return d, nil }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, c) }()
	stopped := false
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// opened opens the driver, with tls: off unless more has another setting.
func opened(t testing.TB, address string, more map[string]string) connector.Driver {
	t.Helper()
	all := map[string]string{"address": address, "tls": "off"}
	maps.Copy(all, more)
	d, err := Open(t.Context(), 1, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func put(ctx context.Context, d connector.Driver) error {
	_, err := d.Put(ctx, &tiebackv1.PutRequest{CompanyId: 1, Key: "k", Record: &tiebackv1.Record{Name: "Acme"}})
	return err
}

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	a := authority{cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
	der, key := a.sign(t, a.cert)
	a.key, a.pem = key, armour("CERTIFICATE", der)
	return a
}

// sign makes a key and a certificate for it. A CA without a key signs its own certificate.
func (a authority) sign(t testing.TB, cert *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// issue returns a certificate for a host, and its key, in PEM.
func (a authority) issue(t testing.TB, host string) (cert, key string) {
	t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		leaf.DNSNames, leaf.IPAddresses = nil, []net.IP{ip}
	}
	der, private := a.sign(t, leaf)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return armour("CERTIFICATE", der), armour("PRIVATE KEY", raw)
}

// files writes a certificate for a host, and its key, to files.
func (a authority) files(t testing.TB, host string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := a.issue(t, host)
	return file(t, certPEM), file(t, keyPEM)
}

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pem")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
