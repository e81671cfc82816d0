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
		"after a restart a broker recovers its streams before it listens, which can take minutes"
	waitForRecovery = "wait: after a restart a broker recovers its streams, which can take minutes; if it takes longer, see its log"
)

// checkBroker checks the broker and what Tieback stores there.
func (d *Doctor) checkBroker(ctx context.Context, r *findings) {
	const check = "broker"
	if d.Bus != nil {
		d.checkBus(ctx, r, d.Bus, d.checkConsumers)
		return
	}
	o, done, unchecked, err := d.Broker()
	if done != nil {
		defer done()
	}
	switch {
	case err != nil:
		r.problem(check, start, "%v", err)
		return
	case unchecked != "":
		r.ok(check, "%s", unchecked)
		return
	}
	warnings := &errorLog{LevelEnabler: zapcore.WarnLevel}
	o.Log, o.TopologyManaged = zap.New(warnings), true // creates nothing
	b, err := d.connect(ctx, o)
	if err != nil {
		d.unreachable(r, err, warnings)
		return
	}
	defer b.Close()
	if o.InProcess != nil {
		d.checkBus(ctx, r, b, notRunning)
	} else {
		d.checkBus(ctx, r, b, d.checkConsumers)
	}
	for _, err := range warnings.all() {
		if !errors.Is(err, nats.ErrPermissionViolation) {
			continue
		}
		r.problem(check, "the key in TIEBACK_NATS_NKEY_FILE lacks a permission: use the key of the user tieback, and the users.conf of this version", "%v", err)
	}
}

// checkBus makes the checks that need a connection to the broker.
func (d *Doctor) checkBus(ctx context.Context, r *findings, b *bus.Bus, consumers func(context.Context, *findings, *bus.Bus)) {
	r.ok("broker", "NATS %s answers", b.JetStream().Conn().ConnectedServerVersion())
	for _, check := range []func(context.Context, *findings, *bus.Bus){
		d.checkStreams, consumers, d.checkLosses, d.checkBackup, d.checkDeadLetters, d.checkSweeps, d.checkLimits, d.checkGrowth, d.readLinks,
	} {
		d.within(ctx, func(ctx context.Context) { check(ctx, r, b) })
	}
}

// within makes a check with its timeout.
func (d *Doctor) within(ctx context.Context, check func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	check(ctx)
}

// connect connects to the broker. If nothing listens at its addresses, the error is that of dialing, which says more than that
// of the client.
func (d *Doctor) connect(ctx context.Context, o bus.Options) (*bus.Bus, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	var failed error
	for raw := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		if o.InProcess != nil || err != nil || u.Host == "" { // no address to dial, or one that the client reports
			failed = nil
			break
		}
		conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222")))
		if err == nil {
			_ = conn.Close()
			failed = nil
			break
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return nil, failed
	}
	return bus.Connect(ctx, o)
}

// notRunning replaces checkConsumers for the embedded broker: while the doctor has it, no service runs.
func notRunning(_ context.Context, r *findings, _ *bus.Bus) {
	r.warn("consumers", "start tieback run", "tieback run is not running, so nothing is processed")
}

// unreachable reports why there is no connection, with the last error that the client logged.
func (d *Doctor) unreachable(r *findings, err error, warnings *errorLog) {
	if logged := warnings.all(); len(logged) > 0 && !strings.Contains(err.Error(), logged[len(logged)-1].Error()) {
		err = fmt.Errorf("%w (%w)", logged[len(logged)-1], err)
	}
	action := start
	if errors.Is(err, bus.ErrRecovering) {
		action = waitForRecovery
	} else if text := err.Error(); errors.Is(err, jetstream.ErrStreamNotFound) {
		action = "run the provisioner, which creates them; with TIEBACK_NATS_TOPOLOGY=create the services create them when they start"
	} else if strings.Contains(strings.ToLower(text), "authorization") || strings.Contains(text, "refuses") || strings.Contains(text, "permissions") {
		action = "set TIEBACK_NATS_NKEY_FILE to the key of the user tieback, and give the broker the matching users.conf"
	}
	r.problem("broker", action, "%v", err)
}

// errorLog is a log that keeps the errors that the connection to the broker logs.
type errorLog struct {
	zapcore.LevelEnabler
	mu   sync.Mutex
	errs []error
}

func (e *errorLog) With([]zapcore.Field) zapcore.Core { return e }

func (e *errorLog) Check(entry zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(entry.Level) {
		return c.AddCore(entry, e)
	}
	return c
}

func (e *errorLog) Write(_ zapcore.Entry, fields []zapcore.Field) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range fields {
		if err, is := f.Interface.(error); is && f.Type == zapcore.ErrorType {
			e.errs = append(e.errs, err)
		}
	}
	return nil
}

func (e *errorLog) Sync() error { return nil }

func (e *errorLog) all() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.errs)
}
