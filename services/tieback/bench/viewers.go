package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// refreshEvery is how often a viewer loads the page Now, as the page does itself.
const refreshEvery = 5 * time.Second

// viewerRounds is how many pairs of measurements are made.
const viewerRounds = 4

// viewers measures exports alternately without and with viewers of the page Now, who are signed in. As in production, the console
// and the viewers' browsers run in processes of their own. The CPU time of the pipeline is that of the services, the broker and
// the embedded ERP, including what the broker answers to the console; that of the console is measured apart.
func viewers(ctx context.Context, o Options, out io.Writer) error {
	var server *broker.Server
	var env []string
	defer func() {
		if server != nil {
			server.Close()
		}
	}()
	open := func(ctx context.Context, dir, procoreURL string, secrets local.Secrets) (pl *run.Pipeline, err error) {
		var url string
		if server, url, err = broker.StartListening(filepath.Join(dir, "broker")); err != nil {
			return nil, err
		}
		env = []string{
			"TIEBACK_DATA=" + filepath.Join(dir, "console"), "TIEBACK_COMPANIES=" + filepath.Join(dir, "companies.yaml"), "TIEBACK_NATS_URL=" + url,
			"TIEBACK_PROCORE_API_URL=" + procoreURL, "TIEBACK_PROCORE_LOGIN_URL=" + procoreURL, "TIEBACK_LOG_LEVEL=error",
		}
		return local.Open(ctx, local.Parts{Data: dir, ProcoreURL: procoreURL, NATSURL: url, AdminAddr: "127.0.0.1:0", LogLevel: zapcore.ErrorLevel, Secrets: secrets})
	}
	return withPipeline(ctx, open, func(ctx context.Context, procore *child, _ *run.Pipeline) error {
		t := theatre{procore: procore}
		var err error
		if t.console, err = startChild(ctx, "console", procore.dir, env...); err != nil {
			return err
		}
		defer t.console.kill()
		if t.viewers, err = startChild(ctx, "viewers", procore.dir); err != nil {
			return err
		}
		defer t.viewers.kill()
		var link string
		if err := t.console.get(ctx, "/link", &link); err != nil {
			return err
		}
		if err := t.viewers.get(ctx, "/sign-in?link="+url.QueryEscape(link), new(bool)); err != nil {
			return err
		}
		if _, err := t.round(ctx, o.Events, o.Viewers); err != nil { // warm up
			return err
		}
		return t.compare(ctx, o, out)
	})
}

// theatre is the processes beside the pipeline.
type theatre struct{ procore, console, viewers *child }

// attended is the result of a round.
type attended struct {
	rate         float64 // events per second
	cpu, console float64 // CPU seconds of the pipeline and of the console
	seconds      float64
	pages        int64 // loaded
}

// round measures n exports beside viewers.
func (t theatre) round(ctx context.Context, n, viewers int) (is attended, err error) {
	var began, ended float64
	var pages int64
	if err := t.viewers.get(ctx, fmt.Sprintf("/viewers?n=%d", viewers), &pages); err != nil {
		return is, err
	}
	if err := t.console.get(ctx, "/cpu", &began); err != nil {
		return is, err
	}
	before := cpuSeconds()
	r, err := t.procore.export(ctx, n, 0)
	if err != nil {
		return is, err
	}
	is.cpu, is.seconds, is.rate = cpuSeconds()-before, r.seconds(), float64(n)/r.seconds()
	if err := t.console.get(ctx, "/cpu", &ended); err != nil {
		return is, err
	}
	is.console = ended - began
	err = t.viewers.get(ctx, "/viewers?n=0", &pages)
	is.pages = pages
	return is, err
}

// compare measures rounds without and with viewers and prints them.
func (t theatre) compare(ctx context.Context, o Options, out io.Writer) error {
	fmt.Fprintf(out, "%d vendor exports each time; a viewer refreshes the page Now every %v\n", o.Events, refreshEvery)
	fmt.Fprintln(out, "                     CPU s per 1,000 events\nviewers   events/s   pipeline   console   pages")
	if o.Profile != "" {
		if err := t.console.get(ctx, "/profile?file="+url.QueryEscape(o.Profile+".console"), new(bool)); err != nil {
			return err
		}
	}
	stop, err := profile(o.Profile)
	if err != nil {
		return err
	}
	defer stop()
	var sum [2]attended
	for round := range 2 * viewerRounds {
		with := (round + round/2) % 2 // 0 1 1 0 0 1 1 0: a trend does not favour one of them
		is, err := t.round(ctx, o.Events, with*o.Viewers)
		if err != nil {
			return err
		}
		per := 1000 / float64(o.Events)
		fmt.Fprintf(out, "%7d %10.0f %10.2f %9.2f %7d\n", with*o.Viewers, is.rate, is.cpu*per, is.console*per, is.pages)
		sum[with].rate += is.rate / viewerRounds
		sum[with].cpu += is.cpu * per / viewerRounds
		sum[with].console += is.console * per / viewerRounds
		sum[with].pages += is.pages
	}
	if err := t.console.get(ctx, "/profile", new(bool)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "mean    %10.0f %10.2f %9.2f without viewers\nmean    %10.0f %10.2f %9.2f with %d viewers (%+.1f %% events/s, %+.1f %% CPU of the pipeline)\n",
		sum[0].rate, sum[0].cpu, sum[0].console, sum[1].rate, sum[1].cpu, sum[1].console, o.Viewers, 100*(sum[1].rate/sum[0].rate-1), 100*(sum[1].cpu/sum[0].cpu-1))
	return err
}

// audience is the viewers.
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
	return a.load(ctx, link, false)
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
	for loaded := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := a.load(ctx, a.now, loaded); err != nil && ctx.Err() == nil {
			a.failed.Store(fmt.Errorf("a viewer: %w", err))
			return
		}
		a.pages.Add(1)
		wait, loaded = refreshEvery, true
	}
}

// load loads the page Now at an address, or refreshes it as htmx does.
func (a *audience) load(ctx context.Context, address string, refresh bool) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if refresh {
		r.Header.Set("HX-Request", "true")
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
