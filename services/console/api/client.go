package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
)

// Client calls the operator API.
type Client struct {
	operatorv1connect.OverviewServiceClient
	operatorv1connect.RequestServiceClient
	operatorv1connect.DeadLetterServiceClient
	operatorv1connect.CompanyServiceClient
	operatorv1connect.ReconciliationServiceClient
}

// NewClient returns a client of the server at base, an http or https URL. h is used for all calls.
func NewClient(h connect.HTTPClient, base string) Client {
	base = strings.TrimSuffix(base, "/")
	return Client{
		operatorv1connect.NewOverviewServiceClient(h, base),
		operatorv1connect.NewRequestServiceClient(h, base),
		operatorv1connect.NewDeadLetterServiceClient(h, base),
		operatorv1connect.NewCompanyServiceClient(h, base),
		operatorv1connect.NewReconciliationServiceClient(h, base),
	}
}

// Dial returns a client of the console at a URL, with a token; "": none. It makes no call. A token is sent only over
// TLS, or to this machine.
func Dial(rawURL, token string) (Client, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return Client{}, fmt.Errorf("TIEBACK_URL: %q is not the URL of a console, such as https://tieback.example.com", rawURL)
	case token != "" && u.Scheme == "http" && !loopback(u.Hostname()):
		return Client{}, errors.New("TIEBACK_URL: a token is not sent over http; use https")
	}
	return NewClient(&http.Client{Transport: bearer{token, http.DefaultTransport}}, rawURL), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// DialSocket returns a client of the process that listens at a socket in the file system.
func DialSocket(path string) Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return NewClient(&http.Client{Transport: t}, "http://tieback")
}

// bearer adds a token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token == "" {
		return b.next.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}
