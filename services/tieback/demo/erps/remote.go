package erps

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/demo"
	"github.com/tieback/tieback/services/tieback/run"
)

// remoteERP returns the connector at address, without TLS. If address is "", it returns a ledger that is served over gRPC with TLS and
// a token, as in production.
func remoteERP(address string) demo.ERP {
	if address == "" {
		return serveLedger
	}
	return func(context.Context, string, io.Writer) (demo.Started, error) {
		return demo.Started{
			Connector: map[string]string{"driver": "remote", "address": address, "tls": "off"}, Drivers: connectors.Drivers,
		}, nil
	}
}

func serveLedger(ctx context.Context, data string, _ io.Writer) (demo.Started, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return demo.Started{}, err
	}
	cert, key, err := certificate(data)
	if err != nil {
		return demo.Started{}, errors.Join(err, l.Close())
	}
	token := rand.Text()
	books := ledger.Open(run.LedgerDir(data))
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it ends after the pipeline, which is its client
	served := make(chan error, 1)
	go func() {
		served <- remote.Serve(ctx, remote.ServerConfig{
			Listener: l, Tokens: []string{token}, TLSCert: cert, TLSKey: key,
			Resolve: func(ctx context.Context, company int64) (connector.Driver, error) { return books.Company(ctx, company) },
		})
	}()
	return demo.Started{
		Connector: map[string]string{"driver": "remote", "address": l.Addr().String(), "token": token, "ca_file": cert},
		Drivers:   connectors.Drivers, Ledger: true,
		Stop: func() error { cancel(); return errors.Join(<-served, books.Close()) },
	}, nil
}

// certificate writes a self-signed certificate for the loopback address, and its key, and returns their paths.
func certificate(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "connector.crt"), filepath.Join(dir, "connector.key")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}
