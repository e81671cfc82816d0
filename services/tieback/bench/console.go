package bench

import (
	"context"
	"net"
	"net/http"
	"os"
	"runtime/pprof"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/console"
)

// serveConsole is the service console, with the settings in the environment. It serves for the parent
//
//	/link    the one-time link
//	/cpu     the CPU time of the process, in seconds
//	/profile?file=    writes the CPU profile since the last call to a file; without file it only starts one
func serveConsole(ctx context.Context, getenv func(string) string) error {
	a, err := tenant.Load("console", getenv, tenant.AllCompanies)
	if err != nil {
		return err
	}
	if err := a.Connect(ctx, bus.Options{URL: a.Settings.NATSURL, Name: a.Name}); err != nil {
		return err
	}
	defer a.Bus.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	links := make(chan string, 1)
	mux := http.NewServeMux()
	var profiled *os.File
	handle(mux, map[string]func(*http.Request) (any, error){
		"GET /link": func(*http.Request) (any, error) { return <-links, nil },
		"GET /cpu":  func(*http.Request) (any, error) { return cpuSeconds(), nil },
		"GET /profile": func(r *http.Request) (any, error) {
			if profiled != nil {
				pprof.StopCPUProfile()
				profiled.Close()
				profiled = nil
			}
			if file := r.FormValue("file"); file != "" {
				f, err := os.Create(file)
				if err != nil {
					return nil, err
				}
				profiled = f
				return true, pprof.StartCPUProfile(f)
			}
			return true, nil
		},
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveParent(ctx, getenv, mux) })
	g.Go(func() error {
		return console.Run(ctx, a, console.Options{Listener: l, Link: func(link string) { links <- link }})
	})
	return g.Wait()
}

// serveViewers are the viewers of the console. They serve for the parent
//
//	/sign-in?link=    signs the viewers in to the console
//	/viewers?n=       ends the viewers and starts n others; the response is the number of pages loaded
func serveViewers(ctx context.Context, getenv func(string) string) error {
	a := &audience{}
	mux := http.NewServeMux()
	handle(mux, map[string]func(*http.Request) (any, error){
		"GET /sign-in": func(r *http.Request) (any, error) { return true, a.signIn(r.Context(), r.FormValue("link")) },
		"GET /viewers": func(r *http.Request) (any, error) { return a.set(ctx, number(r, "n")) },
	})
	return serveParent(ctx, getenv, mux)
}
