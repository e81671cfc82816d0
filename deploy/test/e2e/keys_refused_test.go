package endtoend

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The broker refuses what the key of a service must not do.
func TestStolenKeyPermitsNothingElse(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.provision(0)
	closed := map[string][]string{
		"ingest": {
			"tb.closed.export.create_vendor.7.9", "tb.event.export.create_vendor.7.9", "tb.outcome._._.7.9", "tb.dead._._.7.9",
			"$KV.tieback-state.generation.7.VENDOR.35", "$KV.tieback-quota.7", "$JS.API.CONSUMER.CREATE.TIEBACK_DELIVERY.mine", "$KV.tieback-state.trouble.7.erp.ingest",
			"$JS.API.DIRECT.GET.TIEBACK_EVENT", "$JS.API.STREAM.MSG.GET.KV_tieback-state", "$KV.tieback-seen.TIEBACK_DEAD",
		},
		"fetcher": {"tb.delivery._._.7.9", "tb.closed._._.7.9", "tb.outcome.export.create_vendor.7.9", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_EVENT.export", "$KV.tieback-state.link.7.vendor.35"},
		"export": {
			"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.TIEBACK_EVENT", "$JS.API.STREAM.DELETE.TIEBACK_EVENT", "$JS.API.STREAM.PURGE.TIEBACK_EVENT",
			"$JS.API.STREAM.MSG.DELETE.TIEBACK_EVENT", "$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.DURABLE.CREATE.TIEBACK_EVENT.export",
			"$JS.API.CONSUMER.DELETE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_EVENT.sync",
			"$JS.ACK.TIEBACK_EVENT.sync.1.1.1.1.0", "$JS.ACK._.hash.TIEBACK_EVENT.sync.1.1.1.1.0.x",
			"$JS.ACK.TIEBACK_EVENT.export.TIEBACK_EVENT.sync.1.1.1.1.0.x", "$JS.ACK.TIEBACK_EVENT.sync.TIEBACK_EVENT.export.1.1.1", // one format parsed as the other
			"tb.event.export.create_vendor.7.9", "tb.outcome.sync.sync_vendors.7.9", "tb.closed.export.create_vendor.7.9", "tb.resolution.export.create_vendor.7.9.1",
			"tb.outcome._._.7.9.swept", "tb.outcome._._.7.9.42", "tb.dead._._.7.9.42",
			"$KV.tieback-state.link.7.vendor.35", "$KV.tieback-state.cursor.7.VENDOR", "$KV.tieback-state.attempt.TIEBACK_EVENT.sync.1", "$KV.tieback-state.trouble.7.erp.sync",
		},
		"sync":            {"$KV.tieback-state.generation.7.VENDOR.35", "$KV.tieback-state.swept.7", "tb.outcome.export.create_vendor.7.9", "$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.mine"},
		"import":          {"$KV.tieback-state.generation.7.VENDOR.35", "tb.closed.import.link_vendor.7.9"},
		"unlink":          {"$KV.tieback-state.link.7.vendor.35", "$KV.tieback-state.swept.7", "tb.closed.unlink.unlink_vendor.7.9"},
		"reset":           {"$KV.tieback-state.link.7.vendor.35", "tb.closed.reset.reset_job.7.9"},
		"status-reporter": {"tb.delivery._._.7.9", "tb.event.export.create_vendor.7.9", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_EVENT.export", "$KV.tieback-state.generation.7.VENDOR.35"},
		"sweep": {
			"tb.closed._._.7.9", "tb.outcome.export.create_vendor.7.9", "tb.outcome._._.7.9", "$KV.tieback-state.cursor.7.VENDOR",
			"$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.export.tb.event.export.>", "$JS.API.CONSUMER.DURABLE.CREATE.TIEBACK_EVENT.export",
			"$JS.API.CONSUMER.CREATE.TIEBACK_EVENT", "$JS.API.CONSUMER.DELETE.TIEBACK_OUTCOME.status-reporter", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_DELIVERY.fetcher",
			"$JS.ACK.TIEBACK_EVENT.export.1.1.1.1.0", "$KV.tieback-seen.TIEBACK_DEAD",
			"$JS.API.STREAM.PURGE.TIEBACK_DEAD", "$JS.API.STREAM.PURGE.TIEBACK_RESOLUTION", "$JS.API.STREAM.PURGE.KV_tieback-state", "$JS.API.STREAM.MSG.DELETE.TIEBACK_EVENT",
			"$JS.API.STREAM.UPDATE.TIEBACK_EVENT", "$JS.API.STREAM.DELETE.TIEBACK_EVENT",
		},
		"lag-exporter": {"tb.delivery._._.7.9", "tb.dead._._.7.9", "$KV.tieback-state.link.7.vendor.35", "$KV.tieback-quota.7", "$JS.API.CONSUMER.DELETE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.PAUSE.TIEBACK_EVENT.export", "$JS.API.STREAM.MSG.GET.KV_tieback-state"},
		"console": {
			"tb.outcome.export.create_vendor.7.9", "tb.outcome._._.7.9", "tb.event.export.create_vendor.7.9", "tb.closed.export.create_vendor.7.9", "tb.dead._._.7.9", // only replays
			"$KV.tieback-state.generation.7.VENDOR.35", "$KV.tieback-state.cursor.7.VENDOR", "$KV.tieback-state.attempt.TIEBACK_EVENT.export.1", "$KV.tieback-state.trouble.7.erp.export",
			"$KV.tieback-seen.TIEBACK_DEAD", "$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.TIEBACK_DEAD", "$JS.API.STREAM.DELETE.TIEBACK_DEAD", "$JS.API.STREAM.PURGE.TIEBACK_DEAD",
			"$JS.API.STREAM.MSG.DELETE.TIEBACK_DEAD", "$JS.API.STREAM.LIST", "$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.mine", "$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.export",
			"$JS.API.CONSUMER.DELETE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.PAUSE.TIEBACK_EVENT.export", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_EVENT.export", "$JS.ACK.TIEBACK_EVENT.export.1.1.1.1.0",
		},
		"tieback":     {"tb.closed.export.create_vendor.7.9", "tb.dead._._.7.9", "$JS.API.STREAM.PURGE.TIEBACK_DEAD", "$JS.API.STREAM.MSG.DELETE.TIEBACK_DEAD", "$JS.API.STREAM.DELETE.TIEBACK_DEAD", "$KV.tieback-state.generation.7.VENDOR.35", "$KV.tieback-state.pauses", "$KV.tieback-state.retries"},
		"provisioner": {"tb.event.export.create_vendor.7.9", "$JS.API.STREAM.DELETE.TIEBACK_EVENT", "$JS.API.STREAM.PURGE.TIEBACK_EVENT", "$JS.API.CONSUMER.DELETE.TIEBACK_EVENT.export", "$KV.tieback-state.generation.7.VENDOR.35"},
	}
	for _, service := range topology.Users() {
		nc := g.as(service)
		if len(closed[service]) == 0 {
			t.Errorf("no subject to try for %s", service)
		}
		for _, subject := range closed[service] {
			g.refused(nc, service+" publishes to "+subject, nc.Publish(subject, []byte("{}")))
		}
		for _, subject := range []string{"_INBOX_" + other(service) + ".>", "_INBOX.>", ">", "tb.>", "$JS.ACK.>", "$KV.>"} {
			_, err := nc.SubscribeSync(subject)
			g.refused(nc, service+" listens to "+subject, err)
		}
		nc.Close()
	}
	b := g.bus("tieback")
	for _, k := range bus.Kinds {
		if last, err := b.LastSequence(t.Context(), k); last != 0 || err != nil {
			t.Errorf("%s has %d messages, %v", k.Stream(), last, err)
		}
	}
	if found := violations(g.said.String()); len(found) < 60 { // TestOwnPermissionsSuffice relies on these lines
		t.Errorf("the broker's log has %d violations", len(found))
	}
}

// The keys of lag-exporter and tieback suffice to detect a loss, to record the watermarks, and to accept a loss.
func TestLagExporterAndTiebackDetectLosses(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.provision(0)
	lag, tieback := g.bus("lag-exporter"), g.bus("tieback")
	for n := range int64(3) {
		if err := tieback.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, n+1), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: n + 1, EventId: "01J"}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := lag.RecordWatermarks(t.Context()); err != nil || len(all) > 0 {
		t.Fatalf("whole: %v, %v", all, err)
	}
	if all, err := lag.Losses(t.Context(), bus.Gap{Kind: bus.Delivery, From: 3, To: 4}); err != nil || len(all) != 1 || all[0].Missing != 1 {
		t.Errorf("lag meets a gap: %v, %v", all, err)
	}
	if all, err := tieback.AcceptLosses(t.Context(), "test", "restored", bus.Gap{Kind: bus.Delivery, From: 3, To: 4}); err != nil || len(all) != 1 {
		t.Errorf("accepted: %v, %v", all, err)
	}
	for _, b := range []*bus.Bus{lag, tieback} {
		if all, err := b.Losses(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("after that: %v, %v", all, err)
		}
	}
	if found := violations(g.said.String()); len(found) > 0 {
		t.Errorf("refused: %v", found)
	}
}

// A service logs what the broker refuses.
func TestRefusedPublishIsLogged(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.provision(0)
	log := &logRecorder{more: make(chan struct{})}
	b, err := bus.Connect(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key("ingest"), Name: "ingest", TopologyManaged: true, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.JetStream().Conn().Publish("tb.closed.export.create_vendor.7.9", nil); err != nil {
		t.Fatal(err)
	}
	log.await(t, 0, "refused", "Permissions Violation", "tb.closed.export.create_vendor.7.9")
}

// The broker accepts only the keys of its users file.
func TestUnknownKeyIsRefused(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	if nc, err := nats.Connect(g.url); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a key: %v, %v", nc, err)
	}
	stranger := newGuarded(t)
	opt, err := nats.NkeyOptionFromSeed(stranger.key("provisioner"))
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect(g.url, opt); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("with another broker's key: %v, %v", nc, err)
	}
}

func TestProvisionerReportsRefusedKey(t *testing.T) {
	t.Parallel()
	g, stranger := newGuarded(t), newGuarded(t)
	stranger.url = g.url
	if said := stranger.provision(1, "--wait", "1s"); !strings.Contains(said, "Authorization") {
		t.Errorf("the output is %s", said)
	}
}

// A service without TIEBACK_NATS_TOPOLOGY=managed fails at once and names the setting.
func TestServiceThatMayNotCreateStreamsNamesTheSetting(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.provision(0)
	_, err := bus.Connect(t.Context(), bus.Options{URL: g.url, NKeyFile: g.key("tieback"), Name: "tieback", Log: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), "TIEBACK_NATS_TOPOLOGY=managed") {
		t.Errorf("the error is %v", err)
	}
}

// as connects with the key of a service.
func (g *guarded) as(service string) *nats.Conn {
	g.t.Helper()
	opt, err := nats.NkeyOptionFromSeed(g.key(service))
	if err == nil {
		var nc *nats.Conn
		if nc, err = nats.Connect(g.url, opt, nats.Timeout(patience), nats.CustomInboxPrefix("_INBOX_"+service), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})); err == nil {
			return nc
		}
	}
	g.t.Fatal(err)
	return nil
}

// refused checks that the broker refused the last operation.
func (g *guarded) refused(nc *nats.Conn, what string, sent error) {
	g.t.Helper()
	subject := what[strings.LastIndex(what, " ")+1:]
	err := errors.Join(sent, nc.FlushTimeout(10*time.Second))
	if said := fmt.Sprint(nc.LastError()); err != nil || !strings.Contains(said, "Permissions Violation") || !strings.Contains(said, fmt.Sprintf("%q", subject)) {
		g.t.Errorf("%s: the broker answered %s, %v", what, said, err)
	}
}

// bus connects to the broker as a service does.
func (g *guarded) bus(service string) *bus.Bus {
	g.t.Helper()
	b, err := bus.Connect(g.t.Context(), bus.Options{URL: g.url, NKeyFile: g.key(service), Name: service, TopologyManaged: true, Log: zap.NewNop()})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(b.Close)
	return b
}

// other returns another service.
func other(service string) string {
	if service == "export" {
		return "import"
	}
	return "export"
}
