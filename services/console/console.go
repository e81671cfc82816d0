// Package console is the operators' service: the operator API (proto/tieback/operator/v1), an index of all requests, and
// web pages over both.
//
//	api/        the API's handlers
//	operator/   the questions that they answer, over pkg/request, pkg/state and pkg/procore, a package for each
//	index/      a searchable copy of the history in SQLite; it can be built again from the streams at any time
//	access/     who the caller is, and what they may see and do
//	notify/     messages about what needs attention, and daily digests
//	web/        the pages; they call the API's handlers in the same process
package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/api"
	"github.com/tieback/tieback/services/console/index"
	"github.com/tieback/tieback/services/console/notify"
	"github.com/tieback/tieback/services/console/web"
)

// Options say how the console is reached.
type Options struct {
	Listener net.Listener      // of pages and API; Run closes it. nil: only Socket is served
	Socket   string            // path of a socket for the command line; "": none. Who may open it may do everything
	Link     func(link string) // called with a link that signs its first user in, if there is no access file; nil: not called
}

// Serve is the service console. It serves on TIEBACK_CONSOLE_ADDR, to the callers that the access file names, and opens a socket
// for the command line in TIEBACK_DATA.
func Serve(ctx context.Context, a *tenant.App) error {
	if a.Settings.ConsoleAccess == "" {
		return errors.New("TIEBACK_CONSOLE_ACCESS is not set: the console needs the file that says who may use it")
	}
	l, err := net.Listen("tcp", a.Settings.ConsoleAddr)
	if err != nil {
		return fmt.Errorf("TIEBACK_CONSOLE_ADDR: %w", err)
	}
	return Run(ctx, a, Options{Listener: l, Socket: Socket(a.Settings.Data)})
}

// Socket is the socket of the command line in a data folder.
func Socket(data string) string { return filepath.Join(data, "tieback.sock") }

// Run serves the console until ctx ends.
func Run(ctx context.Context, a *tenant.App, o Options) error {
	if o.Listener != nil {
		defer o.Listener.Close() //nolint:errcheck // the server has closed it, or there is no server
	}
	gate, err := openGate(a)
	if err != nil {
		return err
	}
	x, err := OpenIndex(ctx, a, IndexPath(a.Settings.Data))
	if err != nil {
		return stopped(ctx, err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			a.Log.Error("could not close the index", zap.Error(err))
		}
	}()
	handlers := api.New(a, api.Options{Index: x})
	notifier, err := newNotifier(a, handlers)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if notifier != nil {
		g.Go(func() error { return notifier.Run(ctx) })
	}
	g.Go(func() error { return stopped(ctx, x.Run(ctx, a.Bus)) })
	if o.Listener != nil {
		pages := web.New(web.API{Overview: handlers, Requests: handlers, DeadLetters: handlers, Companies: handlers, Reconciliation: handlers}, a.Log)
		a.Log.Info("console", zap.Stringer("address", o.Listener.Addr()))
		if o.Link != nil && a.Settings.ConsoleAccess == "" {
			o.Link("http://" + o.Listener.Addr().String() + gate.Link())
		}
		g.Go(func() error { handlers.Run(ctx); return nil })
		g.Go(func() error { gate.Watch(ctx, app.RereadEvery); return nil })
		g.Go(func() error { return gate.Serve(ctx, o.Listener, withAPI(handlers.Handler(), pages)) })
	}
	if o.Socket != "" {
		g.Go(func() error { return serveSocket(ctx, o.Socket, access.AsOwner(owner(), handlers.Handler())) })
	}
	return g.Wait()
}

// newNotifier returns a notifier for the receivers in TIEBACK_CONSOLE_NOTIFY; nil: there is no such file.
func newNotifier(a *tenant.App, handlers *api.API) (*notify.Notifier, error) {
	if a.Settings.ConsoleNotify == "" {
		return nil, nil
	}
	c, err := notify.Load(a.Settings.ConsoleNotify)
	if err != nil {
		return nil, err
	}
	as := access.Owner("notifications")
	return &notify.Notifier{
		Config: c, Path: a.Settings.ConsoleNotify, Companies: a.Companies, File: filepath.Join(a.Settings.Data, "console", "digests.json"), Log: a.Log,
		Overview: func(ctx context.Context) (*operatorv1.Overview, error) {
			r, err := handlers.GetOverview(access.With(ctx, as), &operatorv1.GetOverviewRequest{})
			return r.GetOverview(), err
		},
		Requests: func(ctx context.Context, r *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error) {
			return handlers.ListRequests(access.With(ctx, as), r)
		},
	}, nil
}

// withAPI serves the API under the names of its services, and the pages elsewhere.
func withAPI(api, pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/tieback.operator.v1.") {
			api.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// IndexPath is the file of the index under the data folder.
func IndexPath(data string) string { return filepath.Join(data, "console", "index.db") }

// OpenIndex opens the index in a file, with the rules of the app's companies. While it waits for another process that has the file
// open, the app is not ready.
func OpenIndex(ctx context.Context, a *tenant.App, path string) (*index.Index, error) {
	return index.Open(ctx, path, index.Options{Keep: a.Settings.ConsoleKeep, Log: a.Log, Waiting: a.SetWaiting, Rules: func(company int64) request.Rules {
		return request.Rules{Deadlines: request.Deadlines{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}, Company: a.Companies[company]}
	}})
}

func openGate(a *tenant.App) (*access.Gate, error) {
	if a.Settings.ConsoleAccess == "" {
		return access.Local(a.Log), nil
	}
	return access.Open(a.Settings.ConsoleAccess, a.Log)
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// owner returns the name under which the socket's user is recorded.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return "command line on " + host
}

// serveSocket serves h on a socket that only the user of this process may open. A socket that a killed process left is replaced.
func serveSocket(ctx context.Context, path string, h http.Handler) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("socket of the command line: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return fmt.Errorf("socket of the command line: %w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: app.RereadEvery}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
