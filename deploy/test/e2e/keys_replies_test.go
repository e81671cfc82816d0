package endtoend

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// attacker sends, with one service's key, every request that the key may send, each with a reply subject to which the key may
// not publish.
type attacker struct {
	service string
	nc      *nats.Conn
	may     []string // subjects to which it may publish
}

// bodies are requests of the JetStream API, and data that would be a command on another subject.
var bodies = []string{
	"", `{}`, `{"seq":1}`, `{"last_by_subj":"tb.dead.>"}`, `{"batch":2,"no_wait":true}`, `{"seq":1,"batch":2}`,
	`{"multi_last":["$KV.tieback-state.>"]}`, "+NXT", `{"origin_id":"forged","request":1}`,
}

// replies returns reply subjects on which a message would do harm in the account of the streams.
func replies() []string {
	var all []string
	for _, api := range []string{"$JS.API", "tieback.api"} {
		for _, verb := range []string{
			"STREAM.DELETE.TIEBACK_DEAD", "STREAM.PURGE.TIEBACK_DEAD", "STREAM.MSG.DELETE.TIEBACK_DEAD", "STREAM.CREATE.MINE", "STREAM.UPDATE.TIEBACK_DEAD",
			"CONSUMER.DELETE.TIEBACK_EVENT.export", "CONSUMER.CREATE.TIEBACK_EVENT.mine", "CONSUMER.PAUSE.TIEBACK_EVENT.export", "CONSUMER.RESET.TIEBACK_EVENT.export",
			"CONSUMER.MSG.NEXT.TIEBACK_EVENT.import", "STREAM.LEADER.STEPDOWN.TIEBACK_EVENT",
		} {
			all = append(all, api+"."+verb)
		}
	}
	all = append(all, "$JS.ACK.TIEBACK_EVENT.import.1.1.1.1.0", "$JS.ACK.TIEBACK_OUTCOME.status-reporter.1.1.1.1.0", "$JS.ACK.TIEBACK_DELIVERY.fetcher.1.1.1.1.0",
		"$KV.tieback-state.link.7.vendor.666", "$KV.tieback-state.generation.7.VENDOR.666", "$KV.tieback-state.cursor.7.VENDOR", "$KV.tieback-state.swept.7", "$KV.tieback-quota.666", "$KV.tieback-seen.TIEBACK_DEAD", "_R_.666")
	for _, k := range bus.Kinds {
		for _, of := range []string{"export.create_vendor", "reset.reset_job", "_._"} {
			all = append(all, fmt.Sprintf("tb.%s.%s.7.666", k, of))
		}
	}
	for _, service := range topology.Users() {
		all = append(all, "_INBOX_"+service+".666")
	}
	return all
}

// matching returns subjects that match a pattern: one with a message, if there is any, and one without.
func matching(pattern string) []string {
	literal := strings.ReplaceAll(pattern, "*", "1")
	prefix, open := strings.CutSuffix(literal, ">")
	switch {
	case !open:
		return []string{literal}
	case strings.Contains(prefix, "DIRECT.GET.TIEBACK_DEAD."):
		return []string{prefix + "tb.dead.export.create_vendor.7.9", prefix + "nope"}
	case strings.Contains(prefix, "DIRECT.GET.KV_tieback-state."):
		return []string{prefix + "$KV.tieback-state.link.7.vendor.35", prefix + "nope"}
	case strings.HasPrefix(prefix, "tb.") && strings.Count(prefix, ".") == 2:
		return []string{prefix + "export.create_vendor.7.555"}
	case strings.HasPrefix(prefix, "tb."):
		return []string{prefix + "create_vendor.7.555"}
	}
	return []string{prefix + "1.7.555"}
}

func (a attacker) attack(t *testing.T) {
	t.Helper()
	var sent int
	for _, pattern := range a.may {
		if strings.Contains(pattern, "STREAM.PURGE.") { // what the sweep may remove; see docs/threat-model.md
			continue
		}
		for _, subject := range matching(pattern) {
			for _, reply := range replies() {
				if a.mayWrite(reply) || strings.HasPrefix(reply, "_INBOX_"+a.service+".") {
					continue
				}
				// Whether a request is answered depends on its body, where the answer goes on its reply subject. Each subject
				// gets all bodies and all reply subjects, but not in all combinations.
				m := &nats.Msg{Subject: subject, Reply: reply, Data: []byte(bodies[sent%len(bodies)]), Header: nats.Header{"Nats-Request-Info": {`{"acc":"tieback","svc":"tieback"}`}}}
				if err := a.nc.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
		if err := a.nc.FlushTimeout(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if sent < 50 {
		t.Errorf("%s: sent only %d requests", a.service, sent)
	}
}

func (a attacker) mayWrite(subject string) bool {
	return slices.ContainsFunc(a.may, func(pattern string) bool { return server.SubjectMatchesFilter(subject, pattern) })
}

// snapshot is the state of the broker without what the attacker may change.
type snapshot struct {
	Streams   map[string]jetstream.StreamConfig
	Messages  map[string]uint64 // by stream and subject
	Consumers map[string]string
}

// snapshot reads the state with rights that no service has.
func (a attacker) snapshot(t *testing.T, js jetstream.JetStream) snapshot {
	t.Helper()
	k := snapshot{map[string]jetstream.StreamConfig{}, map[string]uint64{}, map[string]string{}}
	for name := range js.StreamNames(t.Context()).Name() {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		if a.mayWrite("tieback.api.STREAM.DELETE." + name) {
			continue
		}
		k.Streams[name] = info.Config
		for subject, n := range info.State.Subjects {
			if !a.mayWrite(subject) {
				k.Messages[name+" "+subject] = n
			}
		}
		for c := range s.ListConsumers(t.Context()).Info() {
			if a.mayWrite(fmt.Sprintf("tieback.api.CONSUMER.MSG.NEXT.%s.%s", name, c.Name)) {
				continue
			}
			c.Config.Metadata = nil
			k.Consumers[name+" "+c.Name] = fmt.Sprintf("%+v paused %v delivered %d acked %d", c.Config, c.Paused, c.Delivered.Consumer, c.AckFloor.Consumer)
		}
	}
	return k
}

// fill publishes messages and links, and acks a message of three consumers.
func fill(t *testing.T, g *guarded) (owner jetstream.JetStream) {
	t.Helper()
	owner = g.owner
	for _, subject := range []string{
		"tb.delivery._._.7.9", "tb.event.export.create_vendor.7.9", "tb.event.import.link_vendor.7.9", "tb.outcome.export.create_vendor.7.9",
		"tb.closed.export.create_vendor.7.9", "tb.dead.export.create_vendor.7.9", "tb.dead._._.7.9", "$KV.tieback-state.link.7.vendor.35", "$KV.tieback-state.generation.7.VENDOR.35",
	} {
		if _, err := owner.Publish(t.Context(), subject, []byte(`{"origin_id":"V1","request":9}`)); err != nil {
			t.Fatal(err)
		}
	}
	for stream, consumer := range map[string]string{"TIEBACK_EVENT": "import", "TIEBACK_OUTCOME": "status-reporter", "TIEBACK_DELIVERY": "fetcher"} {
		c, err := owner.Consumer(t.Context(), stream, consumer)
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return owner
}

// A stolen key permits what its service may do and nothing else. JetStream sends a reply to any subject that the requester
// names, with its own rights; within one account, the key of lag-exporter deleted a stream by naming a command as the reply
// subject of a read. Each service therefore has an account of its own.
func TestStolenKeyCannotRedirectReplies(t *testing.T) {
	t.Parallel()
	for _, service := range topology.Users() {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t)
			g.provision(0)
			owner := fill(t, g)
			var misdirected atomic.Int64 // replies in inboxes of other services
			for _, other := range topology.Users() {
				nc := g.as(other)
				defer nc.Close()
				if _, err := nc.Subscribe("_INBOX_"+other+".666", func(*nats.Msg) { misdirected.Add(1) }); err != nil {
					t.Fatal(err)
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			a := attacker{service: service, nc: g.as(service), may: g.users()[service]}
			defer a.nc.Close()
			before := a.snapshot(t, owner)
			a.attack(t)
			g.quiet(t, owner)
			after := a.snapshot(t, owner)
			for _, of := range []struct{ was, is any }{{before.Streams, after.Streams}, {before.Messages, after.Messages}, {before.Consumers, after.Consumers}} {
				if !reflect.DeepEqual(of.was, of.is) {
					t.Errorf("was\n%v\nis\n%v", of.was, of.is)
				}
			}
			if n := misdirected.Load(); n > 0 {
				t.Errorf("%d replies reached services that had sent no request", n)
			}
		})
	}
}

// The attack works if all services share one account, with the same permissions.
func TestReplyRedirectionSucceedsInOneAccount(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "nats.conf")
	var users strings.Builder
	for service, may := range g.users() {
		for i, subject := range may {
			may[i] = fmt.Sprintf("%q", strings.Replace(subject, "tieback.api", "$JS.API", 1))
		}
		fmt.Fprintf(&users, "{user: %q, password: x, permissions: {publish: {allow: [%s]}, subscribe: {allow: [\"_INBOX_%s.>\"]}}}\n", service, strings.Join(may, ", "), service)
	}
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream {store_dir: %q}\nauthorization {users: [\n{user: owner, password: x}\n%s]}\n", filepath.Join(dir, "js"), users.String())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ns := serve(t, conf, &guarded{said: &buffer{}})
	connect := func(user string) *nats.Conn {
		nc, err := nats.Connect(ns.ClientURL(), nats.UserInfo(user, "x"), nats.Timeout(patience), nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	js, err := jetstream.New(connect("owner"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TIEBACK_DEAD", "TIEBACK_EVENT"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
	}
	err = connect("lag-exporter").PublishMsg(&nats.Msg{Subject: "$JS.API.DIRECT.GET.TIEBACK_EVENT.nope", Reply: "$JS.API.STREAM.DELETE.TIEBACK_DEAD"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for err == nil && ctx.Err() == nil {
		_, err = js.Stream(ctx, "TIEBACK_DEAD")
	}
	if err != jetstream.ErrStreamNotFound { //nolint:errorlint // wrapped, it would be another error
		t.Errorf("the stream still exists: %v", err)
	}
}

// users returns for each service the subjects to which it may publish.
func (g *guarded) users() map[string][]string {
	may := map[string][]string{}
	for _, u := range g.options.Nkeys {
		service := strings.TrimPrefix(u.Account.GetName(), "tieback-")
		if u.Permissions != nil {
			may[service] = slices.Clone(u.Permissions.Publish.Allow)
		}
	}
	return may
}

// quiet waits until the broker has processed its requests: until four consecutive reports, within 0.6 s, are equal.
func (g *guarded) quiet(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	var last string
	for equal := 1; equal < 4; time.Sleep(200 * time.Millisecond) {
		info, err := js.AccountInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		now := fmt.Sprint(info.API.Inflight, info.Store, info.Streams, info.Consumers)
		if equal++; now != last {
			last, equal = now, 1
		}
	}
}
