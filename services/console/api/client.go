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
	"github.com/tieback/tieback/services/console/access"
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
// TLS, or to this machine. The errors name TIEBACK_URL, from which a command has the URL.
func Dial(rawURL, token string) (Client, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return Client{}, fmt.Errorf("TIEBACK_URL: %q is not the URL of a console, such as https://tieback.example.com", rawURL)
	case token != "" && u.Scheme == "http" && !loopback(u.Hostname()):
		return Client{}, errors.New("TIEBACK_URL: a token is not sent over http; use https")
	}
	return NewClient(&http.Client{
		Transport:     header{"Authorization", bearer(token), http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this server alone
	}, rawURL), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func bearer(token string) string {
	if token == "" {
		return ""
	}
	return "Bearer " + token
}

// DialAs returns a client of a server on this machine whose caller is its owner (see access.AsOwner), in the name of user.
// dial connects to it. Call close when no call is in progress.
func DialAs(user string, dial func(context.Context) (net.Conn, error)) (c Client, close func()) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return NewClient(&http.Client{Transport: header{access.UserHeader, user, t}}, "http://tieback"), t.CloseIdleConnections
}

// header adds a header to each request, unless its value is empty.
type header struct {
	name, value string
	next        http.RoundTripper
}

func (h header) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.value != "" {
		r = r.Clone(r.Context())
		r.Header.Set(h.name, h.value)
	}
	return h.next.RoundTrip(r)
}
