package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/bus"
)

const (
	start = "start the broker, or correct TIEBACK_NATS_URL, TIEBACK_NATS_NKEY_FILE and TIEBACK_NATS_CA_FILE; " +
		"one that was just restarted listens when it has recovered its streams, which can take minutes"
	patience = "wait: a broker that was just restarted recovers its streams, which can take minutes; if it lasts, look at its log"
)

// checkBroker looks at the broker and all that Tieback keeps there.
func (d *Doctor) checkBroker(ctx context.Context, r *report) {
	const check = "broker"
	o, done, why, err := d.Broker()
	if done != nil {
		defer done()
	}
	switch {
	case err != nil:
		r.problem(check, start, "%v", err)
		return
	case why != "":
		r.ok(check, "%s", why)
		return
	}
	heard := &ear{LevelEnabler: zapcore.WarnLevel}
	o.Log, o.TopologyManaged = zap.New(heard), true // to make nothing
	b, err := d.connect(ctx, o)
	if err != nil {
		d.unreachable(r, err, heard)
		return
	}
	defer b.Close()
	r.ok(check, "NATS %s answers", b.JetStream().Conn().ConnectedServerVersion())
	looks := []func(context.Context, *report, *bus.Bus){
		func(ctx context.Context, r *report, b *bus.Bus) { d.checkStreams(ctx, r, b, o.InProcess == nil) },
		d.checkConsumers, d.checkLosses, d.checkLetters, d.checkSweeps, d.checkRoom, d.readLinks,
	}
	if o.InProcess != nil {
		looks[1] = idle
	}
	for _, look := range looks {
		d.within(ctx, func(ctx context.Context) { look(ctx, r, b) })
	}
	for _, err := range heard.all() {
		if !errors.Is(err, nats.ErrPermissionViolation) {
			continue
		}
		r.problem(check, "the key in TIEBACK_NATS_NKEY_FILE lacks a permission: use that of the user tieback, and users.conf of this version", "%v", err)
	}
}

// within gives a check its time.
func (d *Doctor) within(ctx context.Context, check func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	check(ctx)
}

// connect connects once somebody listens where the broker should be: who does not is told better by the network.
func (d *Doctor) connect(ctx context.Context, o bus.Options) (*bus.Bus, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	var silent error
	for raw := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		if o.InProcess != nil || err != nil || u.Host == "" { // none, or for the client to judge
			silent = nil
			break
		}
		conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222")))
		if err == nil {
			_ = conn.Close()
			silent = nil
			break
		}
		silent = errors.Join(silent, err)
	}
	if silent != nil {
		return nil, silent
	}
	return bus.Connect(ctx, o)
}

// idle is what is known of the services of an embedded broker that the doctor has to itself.
func idle(_ context.Context, r *report, _ *bus.Bus) {
	r.warn("consumers", "tieback run", "tieback run is not running, so nothing is worked")
}

// unreachable says why there is no connection, as far as the broker said.
func (d *Doctor) unreachable(r *report, err error, heard *ear) {
	if said := heard.all(); len(said) > 0 && !strings.Contains(err.Error(), said[len(said)-1].Error()) {
		err = fmt.Errorf("%w (%w)", said[len(said)-1], err)
	}
	do := start
	if errors.Is(err, bus.ErrRecovering) {
		do = patience
	} else if text := err.Error(); strings.Contains(text, "not to be had") || errors.Is(err, jetstream.ErrStreamNotFound) {
		do = "run the provisioner, which makes them; with TIEBACK_NATS_TOPOLOGY=create the services do it when they start"
	} else if strings.Contains(strings.ToLower(text), "authorization") || strings.Contains(text, "refuses") || strings.Contains(text, "permissions") {
		do = "give TIEBACK_NATS_NKEY_FILE the key of the user tieback, and the broker the users.conf that it is from"
	}
	r.problem("broker", do, "%v", err)
}

// ear hears what the connection to the broker complains of.
type ear struct {
	zapcore.LevelEnabler
	mu   sync.Mutex
	errs []error
}

func (e *ear) With([]zapcore.Field) zapcore.Core { return e }

func (e *ear) Check(entry zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(entry.Level) {
		return c.AddCore(entry, e)
	}
	return c
}

func (e *ear) Write(_ zapcore.Entry, fields []zapcore.Field) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range fields {
		if err, is := f.Interface.(error); is && f.Type == zapcore.ErrorType {
			e.errs = append(e.errs, err)
		}
	}
	return nil
}

func (e *ear) Sync() error { return nil }

func (e *ear) all() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.errs)
}
