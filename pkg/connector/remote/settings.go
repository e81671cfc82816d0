package remote

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

// The timeout of a call, unless its caller has less time.
const (
	timeoutDefault = 30 * time.Second
	timeoutMin     = 100 * time.Millisecond
	timeoutMax     = 5 * time.Minute
)

// tokenMin is the minimum length of a token.
const tokenMin = 16

// settings are the validated settings of the driver.
type settings struct {
	address string
	token   string
	tls     *tls.Config // nil: plaintext
	timeout time.Duration

	offered atomic.Pointer[[]*x509.Certificate] // by the connector, for the last connection; nil: none yet
}

// names are the settings of the driver. An empty value is the same as a missing setting.
var names = []string{"address", "token", "tls", "ca", "cert", "key", "server_name", "timeout"}

// parse validates the settings and returns all errors at once. An error never contains the value of a setting
// that may be a secret.
func parse(all map[string]string) (*settings, error) {
	s := &settings{timeout: timeoutDefault}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(names, name) {
			errs = append(errs, refused(name, "the driver remote has no such setting; its settings are %s", strings.Join(names, ", ")))
		}
	}
	errs = append(errs, s.readAddress(all), s.readTLS(all), s.readCA(all), s.readCert(all), s.readServerName(all), s.readToken(all), s.readTimeout(all))
	return s, errors.Join(errs...)
}

func refused(name, format string, args ...any) error {
	return fault.Refused("connector."+name, "connector.%s: %s", name, fmt.Sprintf(format, args...))
}

func (s *settings) readAddress(all map[string]string) error {
	s.address = all["address"]
	if s.address == "" {
		return refused("address", "is missing: the host:port of the connector")
	}
	host, port, err := net.SplitHostPort(s.address)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ \t") {
		return refused("address", "%q is not a host:port, such as erp.example.com:7070; give it without https:// and without a path", s.address)
	}
	return nil
}

func (s *settings) readTLS(all map[string]string) error {
	switch v := all["tls"]; v {
	case "", "on":
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: s.noteCertificates}
	case "off":
		for _, name := range []string{"ca", "cert", "key", "server_name"} {
			if all[name] != "" {
				return refused(name, "has no effect with tls: off; remove it, or set tls: on")
			}
		}
	default:
		return refused("tls", "is %q; it must be on, or off for a connector on the same host or private network", v)
	}
	return nil
}

// noteCertificates remembers the certificates of a new connection. It accepts them: they were verified before.
func (s *settings) noteCertificates(state tls.ConnectionState) error {
	s.offered.Store(&state.PeerCertificates)
	return nil
}

// Certificates returns the certificates that the connector offered for the last connection; none before the first call, and without TLS.
func (s *settings) Certificates() []*x509.Certificate {
	if all := s.offered.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *settings) readCA(all map[string]string) error {
	if all["ca"] == "" || s.tls == nil {
		return nil
	}
	s.tls.RootCAs = x509.NewCertPool()
	if !s.tls.RootCAs.AppendCertsFromPEM([]byte(all["ca"])) {
		return refused("ca", "has no certificate; give it as PEM (-----BEGIN CERTIFICATE-----), or its path as ca_file")
	}
	return nil
}

func (s *settings) readCert(all map[string]string) error {
	cert, key := all["cert"], all["key"]
	switch {
	case cert == "" && key == "" || s.tls == nil:
		return nil
	case cert == "":
		return refused("cert", "is missing, and connector.key is set; give the client certificate too, or its path as cert_file")
	case key == "":
		return refused("key", "is missing, and connector.cert is set; give the certificate's private key too, or its path as key_file")
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return refused("cert", "and connector.key are not a client certificate (%v); give a certificate and its private key, both as PEM", err)
	}
	s.tls.Certificates = []tls.Certificate{pair}
	return nil
}

func (s *settings) readServerName(all map[string]string) error {
	if s.tls == nil {
		return nil
	}
	if s.tls.ServerName = all["server_name"]; strings.ContainsAny(s.tls.ServerName, ":/ \t") {
		return refused("server_name", "%q is not a host name; give the name in the connector's certificate, without a port", s.tls.ServerName)
	}
	return nil
}

// readToken refuses a token that would cross a network unencrypted: anyone who reads it could book.
func (s *settings) readToken(all map[string]string) error {
	s.token = all["token"]
	if s.token == "" {
		return nil
	}
	if err := validToken(s.token); err != nil {
		return refused("token", "%v", err)
	}
	if all["tls"] == "off" && !loopback(s.address) {
		return refused("token", "would be sent to %s unencrypted with tls: off; set tls: on, or remove the token where the network is private", s.address)
	}
	return nil
}

func validToken(token string) error {
	if len(token) < tokenMin {
		return fmt.Errorf("needs at least %d characters; make one with openssl rand -hex 32", tokenMin)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("may only contain printable ASCII without spaces; make one with openssl rand -hex 32")
	}
	return nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip, ipErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || ipErr == nil && ip.IsLoopback())
}

func (s *settings) readTimeout(all map[string]string) error {
	d, err := time.ParseDuration(cmp.Or(all["timeout"], timeoutDefault.String()))
	if err != nil || d < timeoutMin || d > timeoutMax {
		return refused("timeout", "is %q; it must be how long a call may take, from %v to %v, with its unit, such as 30s", all["timeout"], timeoutMin, timeoutMax)
	}
	s.timeout = d
	return nil
}
