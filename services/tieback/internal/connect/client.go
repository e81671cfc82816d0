package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/api"
	"github.com/tieback/tieback/services/tieback/run"
)

// Client is a client of the operator API. Close it.
type Client struct {
	api.Client
	Stopped bool // the API is served by this process over the embedded broker, so no service runs

	close   []func() // in reverse order
	app     *tenant.App
	handler *atomic.Pointer[http.Handler] // of this process; nil: another process serves the API
	indexed bool
}

// Close ends what Dial began.
func (c *Client) Close() {
	for i := range c.close {
		c.close[len(c.close)-1-i]()
	}
}

// Options are the options of Dial.
type Options struct {
	Name     string // of the command, in logs
	As       string // recorded with what the command does; "": User. A console at TIEBACK_URL knows its caller, and refuses it
	ReadOnly bool   // the broker may lack streams; nothing is created, and nothing may be changed
	Running  bool   // ask another process only; never serve the API in this one
}

// FailedError is an error of Dial that is not a mistake in usage or settings.
type FailedError struct{ error }

// Dial returns a client of the first of these:
//
//   - the console at TIEBACK_URL, with the token in TIEBACK_TOKEN or in the file TIEBACK_TOKEN_FILE;
//   - the process that listens at the socket in TIEBACK_DATA, tieback run;
//   - a server in this process, over the broker of the settings.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if c, err := DialRunning(ctx, o); c != nil || err != nil {
		return c, err
	}
	if o.Running {
		return nil, FailedError{errors.New("no tieback run and no console is found")}
	}
	return inProcess(ctx, o)
}

// DialRunning is Dial without the server in this process: it returns nil if no other process serves the API.
func DialRunning(ctx context.Context, o Options) (*Client, error) {
	if url := os.Getenv(settings.ConsoleURL); url != "" {
		if o.As != "" {
			return nil, errors.New("--as: the console at TIEBACK_URL records the name of its caller, so a name can't be given")
		}
		token, err := token()
		if err != nil {
			return nil, err
		}
		c, err := api.Dial(url, token)
		return &Client{Client: c}, err
	}
	socket := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", console.Socket(settings.DataFolder(os.Getenv)))
	}
	if c, err := socket(ctx); err == nil {
		_ = c.Close() // it was only a test
		client, done := api.DialAs(cmp.Or(o.As, User()), socket)
		return &Client{Client: client, close: []func(){done}}, nil
	}
	return nil, nil
}

// token returns the token for TIEBACK_URL; "": none.
func token() (string, error) {
	t, file := os.Getenv(settings.ConsoleToken), os.Getenv(settings.ConsoleTokenFile)
	switch {
	case t != "" && file != "":
		return "", errors.New("TIEBACK_TOKEN and TIEBACK_TOKEN_FILE are both set: unset one")
	case file == "":
		return t, nil
	}
	raw, err := secretfile.ReadSecret(file)
	if err != nil {
		return "", fmt.Errorf("TIEBACK_TOKEN_FILE: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// inProcess serves the API in this process, to this process alone.
func inProcess(ctx context.Context, o Options) (*Client, error) {
	a, err := tenant.Load(o.Name, os.Getenv, tenant.ValidCompanies)
	if err != nil {
		return nil, err
	}
	c := &Client{Stopped: a.Settings.NATSURL == ""}
	if o.ReadOnly && !c.Stopped {
		err = c.openReadOnly(ctx, a)
	} else {
		var pl *run.Pipeline
		if pl, err = Open(ctx, a); err == nil {
			c.close = append(c.close, pl.Close)
		}
	}
	if err != nil {
		c.Close()
		return nil, FailedError{err}
	}
	c.app, c.handler = a, &atomic.Pointer[http.Handler]{}
	c.serve(api.Options{Stopped: c.Stopped})
	l := newPipes()
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: access.AsOwner(User(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*c.handler.Load()).ServeHTTP(w, r)
	}))}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }() // ends with Close
	client, done := api.DialAs(cmp.Or(o.As, User()), l.Dial)
	c.Client = client
	c.close = append(c.close, func() { done(); _ = srv.Close(); <-served })
	return c, nil
}

// serve makes an API the handler of this process.
func (c *Client) serve(o api.Options) {
	h := api.New(c.app, o).Handler()
	c.handler.Store(&h)
}

// BuildIndex builds the index of requests, which lists and searches need, if this process serves the API. It is kept under
// TIEBACK_DATA for the embedded broker, where tieback run goes on with it; for another broker it is temporary, and takes about
// a minute for each million of messages.
func (c *Client) BuildIndex(ctx context.Context) error {
	if c.handler == nil || c.indexed {
		return nil
	}
	path := console.IndexPath(c.app.Settings.Data)
	if !c.Stopped {
		dir, err := os.MkdirTemp("", "tieback-index-")
		if err != nil {
			return err
		}
		c.close = append(c.close, func() { _ = os.RemoveAll(dir) })
		path = filepath.Join(dir, "index.db")
	}
	x, err := console.OpenIndex(ctx, c.app, path)
	if err != nil {
		return err
	}
	c.close = append(c.close, func() { _ = x.Close() }) // it can be built again
	if err := x.Update(ctx, c.app.Bus); err != nil {
		return err
	}
	c.indexed = true
	c.serve(api.Options{Index: x, Stopped: c.Stopped})
	return nil
}

// openReadOnly connects to the broker, even if it has lost streams.
func (c *Client) openReadOnly(ctx context.Context, a *tenant.App) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	b, err := bus.ConnectReadOnly(ctx, bus.Options{
		URL: a.Settings.NATSURL, NKeyFile: a.Settings.NATSNKeyFile, CAFile: a.Settings.NATSCAFile, Name: "tieback", Log: a.Log,
	})
	if err != nil {
		return err
	}
	c.close, a.Bus = append(c.close, b.Close), b
	short, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	if _, err := b.JetStream().Stream(short, "KV_tieback-quota"); errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // no service has called Procore yet
	}
	q, err := b.OpenQuota(short, 0)
	a.Quota = quotaStore{q, err}
	return nil
}

// quotaStore is a store whose Read returns the error of opening it.
type quotaStore struct {
	*bus.Quota
	err error
}

func (s quotaStore) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	if s.err != nil {
		return nil, 0, s.err
	}
	return s.Quota.Read(ctx, key)
}
