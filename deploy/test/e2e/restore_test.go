package endtoend

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/backup"
	"github.com/tieback/tieback/services/tieback/broker"
)

// The broker loses its disk while accountants work. What a backup has, what the sweep finds in Procore's lists and what the ERP
// knows by its keys bring back every request: each is closed, each vendor is booked once, and the audit accounts for all.
func TestLostBrokerIsRestoredFromABackup(t *testing.T) {
	w := newWorld(t, setup{})
	for name, value := range map[string]string{
		"TIEBACK_DATA": w.data, "TIEBACK_COMPANIES": w.file, "TIEBACK_NATS_URL": "", "TIEBACK_LOG_LEVEL": "error",
	} {
		t.Setenv(name, value)
	}
	to := t.TempDir()
	srv := w.startBroker()
	ctx, hangUp := context.WithCancel(t.Context())
	local := make(chan error, 1)
	go func() { local <- srv.ListenLocal(ctx, broker.Socket(w.data)) }()
	l := w.runOn(srv)
	requests := w.vendors(40)
	<-w.all(requests)

	stop, more := make(chan struct{}), make(chan []int64)
	go func() {
		var all []int64
		for {
			select {
			case <-stop:
				more <- all
				return
			default:
				all = append(all, w.vendors(1)...)
				time.Sleep(10 * time.Millisecond)
			}
		}
	}()
	w.eventually(func() string {
		if _, err := os.Stat(broker.Socket(w.data)); err != nil {
			return err.Error()
		}
		return ""
	})
	began := time.Now()
	w.runs(backup.Command(), to, "--no-encryption")
	took := time.Since(began)
	time.Sleep(time.Second) // requests that the backup does not have
	close(stop)
	requests = append(requests, <-more...)
	lost := time.Now()
	l.stop()
	hangUp()
	w.must(<-local)
	srv.Close()
	w.must(os.RemoveAll(filepath.Join(w.data, "jetstream"))) // only the broker is lost

	w.runs(backup.RestoreCommand(), to, "--keep-databases")
	srv = w.startBroker()
	t.Cleanup(srv.Close)
	l = w.runOn(srv)
	w.rebuild(l, links.Options{})
	l.sweep(l.sweeper())
	// An outcome whose event was published after the copy of the events waits a minute for it.
	w.eventuallyWithin(2*patience, func() string { // a request that was closed after the backup has no message in tb.closed
		if r := l.audit(); int(r.Requests) != len(requests) || len(amiss(r)) > 0 {
			return w.json(r)
		}
		return ""
	})
	recovered := time.Since(lost)
	for _, id := range requests {
		if r, ok := w.sandbox.Request(id); !ok || r.Outcome() != sandbox.Success {
			w.Errorf("request %d ended %q %+v", id, r.Outcome(), r.Details)
		}
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(requests) {
		t.Errorf("%d vendors in the books, want %d", booked, len(requests))
	}
	t.Logf("%d requests; the backup took %s, under load; from the loss to the last close-out %s", len(requests), took, recovered)
}

// The keys backup and restore suffice for their commands. Each may do only its part, and no key of a service may do either.
func TestBackupKeysSuffice(t *testing.T) {
	from, into := newGuarded(t, "--backup"), newGuarded(t, "--backup")
	from.provision(0)
	b := from.bus("tieback")
	for n := range int64(30) {
		if err := b.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, n+1), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: n + 1, EventId: "01J"}); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{T: t}
	to := t.TempDir()
	t.Setenv("TIEBACK_DATA", t.TempDir())
	t.Setenv("TIEBACK_NATS_URL", from.url)
	t.Setenv("TIEBACK_NATS_NKEY_FILE", from.key("backup"))
	if _, made, err := b.LastBackup(t.Context()); made || err != nil {
		t.Errorf("a backup is known before the first: %v", err)
	}
	w.runs(backup.Command(), to, "--no-encryption")
	last, made, err := b.LastBackup(t.Context())
	if !made || err != nil || last.To != to || time.Since(last.Began) > time.Minute || last.Ended.Before(last.Began) {
		t.Errorf("the last backup is %+v, %v", last, err)
	}
	t.Setenv("TIEBACK_NATS_URL", into.url)
	t.Setenv("TIEBACK_NATS_NKEY_FILE", into.key("restore"))
	w.runs(backup.RestoreCommand(), to)
	into.provision(0)
	if n, err := into.bus("tieback").LastSequence(t.Context(), bus.Delivery); n != 30 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	for _, g := range []*guarded{from, into} {
		if found := violations(g.said.String()); len(found) > 0 {
			t.Errorf("refused: %v", found)
		}
	}
	const snapshot, restore = "$JS.API.STREAM.SNAPSHOT.TIEBACK_EVENT", "$JS.API.STREAM.RESTORE.TIEBACK_EVENT"
	const record = "$KV.tieback-seen.backup"
	all := []string{
		"$KV.tieback-seen.backup.more", "$KV.tieback-state.backup", "$KV.tieback-quota.backup", "tb.delivery._._.7.9", "tb.event.export.create_vendor.7.9", "$KV.tieback-state.link.7.vendor.35", "$KV.tieback-seen.TIEBACK_DEAD",
		"$JS.API.STREAM.DELETE.TIEBACK_EVENT", "$JS.API.STREAM.PURGE.TIEBACK_EVENT", "$JS.API.STREAM.UPDATE.TIEBACK_EVENT", "$JS.API.STREAM.CREATE.MINE",
		"$JS.API.CONSUMER.CREATE.TIEBACK_EVENT.mine", "$JS.API.STREAM.MSG.DELETE.TIEBACK_EVENT", "$JS.API.CONSUMER.MSG.NEXT.TIEBACK_EVENT.export",
	}
	for user, subjects := range map[string][]string{"backup": append(slices.Clone(all), restore), "restore": append(slices.Clone(all), snapshot, record), "tieback": {snapshot, restore}, "console": {snapshot, restore, record}, "provisioner": {snapshot, restore, record}} {
		nc := from.as(user)
		for _, subject := range subjects {
			from.refused(nc, user+" publishes to "+subject, nc.Publish(subject, []byte("{}")))
		}
		nc.Close()
	}
}

// runs runs a command, which must succeed.
func (w *world) runs(cmd *cobra.Command, args ...string) {
	w.Helper()
	var out strings.Builder
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(w.Context()); err != nil {
		w.Fatalf("%s %v: %v\n%s", cmd.Name(), args, err, out.String())
	}
}
