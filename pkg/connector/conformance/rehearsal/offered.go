package rehearsal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Offered reports whether a connector simulates faults. It waits until the connector is up. The settings are
// those of package remote; its driver does not pass on the header that says so.
func Offered(ctx context.Context, company int64, settings map[string]string) (bool, error) {
	creds, err := credentialsOf(settings)
	if err != nil {
		return false, err
	}
	conn, err := grpc.NewClient(settings["address"], grpc.WithTransportCredentials(creds))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if token := settings["token"]; token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	var header metadata.MD
	_, err = tiebackv1.NewConnectorServiceClient(conn).Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: company},
		grpc.Header(&header), grpc.WaitForReady(true))
	return slices.Contains(header.Get(Header), "yes"), err
}

func credentialsOf(settings map[string]string) (credentials.TransportCredentials, error) {
	if settings["tls"] == "off" {
		return insecure.NewCredentials(), nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: settings["server_name"]}
	if ca := settings["ca"]; ca != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("ca: it has no PEM certificate")
		}
	}
	if cert := settings["cert"]; cert != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(settings["key"]))
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(c), nil
}
