package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// refreshEvery is how often a viewer loads the page Now, as the page does itself.
const refreshEvery = 5 * time.Second

// viewerRounds is how many pairs of measurements are made.
const viewerRounds = 4

// viewers measures exports alternately without and with viewers of the page Now, who are signed in. The viewers are in the
// sandbox's process, so the CPU time has the console's answers, but not the viewers.
func viewers(ctx context.Context, o Options, out io.Writer) error {
	links := make(chan string, 1)
	open := func(ctx context.Context, dir, procoreURL string, secrets local.Secrets) (*run.Pipeline, error) {
		pl, err := openOne(ctx, dir, procoreURL, secrets)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			pl.Close()
			return nil, err
		}
		pl.Console = &console.Options{Listener: l, Link: func(link string) { links <- link }}
		return pl, nil
	}
	return withPipeline(ctx, open, func(ctx context.Context, c *child, _ *run.Pipeline) error {
		select {
		case link := <-links:
			if err := c.get(ctx, "/sign-in?link="+url.QueryEscape(link), new(bool)); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := c.export(ctx, o.Events, 0); err != nil { // warm up
			return err
		}
		return compareViewers(ctx, o, c, out)
	})
}

func compareViewers(ctx context.Context, o Options, c *child, out io.Writer) error {
	fmt.Fprintf(out, "%d vendor exports each time; a viewer loads the page Now every %v\nviewers   events/s   CPU s per 1,000 events   pages\n", o.Events, refreshEvery)
	var rate, cpu [2]float64
	for round := range 2 * viewerRounds {
		with := (round + round/2) % 2 // 0 1 1 0 0 1 1 0: a trend does not favour one of them
		var pages int64
		if err := c.get(ctx, fmt.Sprintf("/viewers?n=%d", with*o.Viewers), &pages); err != nil {
			return err
		}
		before := cpuSeconds()
		r, err := c.export(ctx, o.Events, 0)
		if err != nil {
			return err
		}
		used := (cpuSeconds() - before) * 1000 / float64(o.Events)
		if err := c.get(ctx, "/viewers?n=0", &pages); err != nil {
			return err
		}
		fmt.Fprintf(out, "%7d %10.0f %24.2f %7d\n", with*o.Viewers, float64(o.Events)/r.Seconds, used, pages)
		rate[with] += float64(o.Events) / r.Seconds / viewerRounds
		cpu[with] += used / viewerRounds
	}
	_, err := fmt.Fprintf(out, "mean      %8.0f %24.2f without viewers\nmean      %8.0f %24.2f with %d viewers (%+.1f %%, %+.1f %%)\n",
		rate[0], cpu[0], rate[1], cpu[1], o.Viewers, 100*(rate[1]/rate[0]-1), 100*(cpu[1]/cpu[0]-1))
	return err
}

// audience is the viewers in the sandbox's process.
type audience struct {
	client http.Client
	now    string // the page's URL
	stop   context.CancelFunc
	all    sync.WaitGroup
	pages  atomic.Int64
	failed atomic.Value // the last error
}

// signIn follows a one-time link. The viewers share its session.
func (a *audience) signIn(ctx context.Context, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	a.now = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}).String()
	if a.client.Jar, err = cookiejar.New(nil); err != nil {
		return err
	}
	a.client.Transport = &http.Transport{MaxIdleConnsPerHost: 1000}
	return a.load(ctx, link)
}

// set ends the viewers and starts n others, whose first loads are spread over refreshEvery. It returns how many pages those
// that have ended have loaded.
func (a *audience) set(ctx context.Context, n int) (int64, error) {
	if a.stop != nil {
		a.stop()
		a.all.Wait()
	}
	ctx, a.stop = context.WithCancel(ctx)
	for i := range n {
		a.all.Go(func() { a.view(ctx, refreshEvery*time.Duration(i)/time.Duration(n)) })
	}
	if err, ok := a.failed.Load().(error); ok {
		return 0, err
	}
	return a.pages.Swap(0), nil
}

func (a *audience) view(ctx context.Context, wait time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := a.load(ctx, a.now); err != nil && ctx.Err() == nil {
			a.failed.Store(fmt.Errorf("a viewer: %w", err))
			return
		}
		a.pages.Add(1)
		wait = refreshEvery
	}
}

// load loads the page Now at an address.
func (a *audience) load(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/") {
		err = fmt.Errorf("%s: %s", resp.Request.URL.Path, resp.Status)
	}
	return err
}
