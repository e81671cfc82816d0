package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
)

// checkStreams compares the configuration of all streams and buckets with that of this version, and the broker's clock with
// ours.
func (d *Doctor) checkStreams(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "streams"
	names, good := topology.StreamNames(d.Settings.NATSURL != ""), 0 // the one process of an embedded broker shares no limits
	for _, name := range names {
		began := time.Now()
		s, err := b.JetStream().Stream(ctx, name)
		if err != nil {
			r.problem(check, "run the provisioner, or start a service; if the stream exists, check the broker's nodes: more than half must run", "%s: %v", name, err)
			continue
		}
		info := s.CachedInfo()
		if name == bus.Delivery.Stream() {
			d.clock(r, "broker clock", "the broker's", info.TimeStamp, began, "synchronize the clocks by NTP: ages and deadlines depend on them")
		}
		if d.checkStream(r, info) {
			good++
		}
	}
	if good == len(names) {
		r.ok(check, "%d streams have the configuration of this version", good)
	}
}

// checkStream checks a stream's configuration and replicas. It reports whether there is no finding.
func (d *Doctor) checkStream(r *findings, info *jetstream.StreamInfo) bool {
	const check, nodes = "streams", "check that all nodes of the broker run, and reach each other"
	name, before := info.Config.Name, len(r.all)
	if differences := topology.StreamDifferences(info.Config, topology.Config{Replicas: d.Settings.Replicas, Retention: d.Settings.Retention}); len(differences) > 0 {
		r.warn(check, "run the provisioner of this version, or restart a service", "%s %s", name, strings.Join(differences, "; "))
	}
	if info.Cluster != nil && info.Cluster.Leader == "" {
		r.problem(check, "check the broker's nodes: more than half must run", "%s has no leader", name)
	}
	offline, behind := bus.LaggingReplicas(info.Cluster)
	if len(offline) > 0 {
		r.problem(check, nodes, "%s: %d of %d replicas are offline: %s", name, len(offline), info.Config.Replicas, strings.Join(offline, ", "))
	}
	if len(behind) > 0 {
		r.warn(check, "wait until they have caught up, then run this again", "%s: %d of %d replicas lag behind: %s", name, len(behind), info.Config.Replicas, strings.Join(behind, ", "))
	}
	return len(r.all) == before
}

// clock compares another clock with ours. theirs was read between began and now.
func (d *Doctor) clock(r *findings, check, whose string, theirs, began time.Time, action string) {
	if theirs.IsZero() {
		return
	}
	var off time.Duration
	switch now := time.Now(); {
	case theirs.Before(began):
		off = began.Sub(theirs)
	case theirs.After(now):
		off = theirs.Sub(now)
	}
	if off > 5*time.Second {
		r.warn(check, action, "%s clock and ours are %v apart", whose, off.Round(time.Second))
		return
	}
	r.ok(check, "%s clock agrees with ours", whose)
}

// checkConsumers checks that a process pulls the messages of each stage.
func (d *Doctor) checkConsumers(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "consumers"
	good := 0
	var idle []request.Queue
	queues, unread := request.Queues(ctx, b)
	for _, q := range queues {
		differences := q.Differences(q.Config)
		switch err := unread[q.Name]; {
		case err != nil:
			r.problem(check, "check the broker", "%s: %v", q.Name, err)
		case !q.Exists:
			r.warn(check, "start the service "+q.Name, "%s has never run here: it has no consumer on %s", q.Name, q.Kind.Stream())
		case len(differences) > 0:
			r.warn(check, "run the provisioner of this version, or restart the service", "%s %s", q.Name, strings.Join(differences, "; "))
		case q.Pulls == 0:
			idle = append(idle, q)
		default:
			good++
		}
	}
	good += len(idle)
	for _, q := range d.stillIdle(ctx, b, idle) {
		good--
		if q.InFlight > 0 {
			r.warn(check, "start the service "+q.Name+" if it is not running", "%s does not pull: it is not running, or busy with %d messages in flight; %d messages wait", q.Name, q.InFlight, q.Pending)
			continue
		}
		r.problem(check, "start the service "+q.Name, "%s is not running; %d messages wait", q.Name, q.Pending)
	}
	if good == len(queues) {
		r.ok(check, "all %d stages are running", good)
	}
}

// stillIdle returns the queues that no process pulls within MaxPull.
func (d *Doctor) stillIdle(ctx context.Context, b *bus.Bus, idle []request.Queue) []request.Queue {
	for end := time.Now().Add(d.MaxPull); len(idle) > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return idle
		case <-time.After(d.MaxPull / 10):
		}
		idle = slices.DeleteFunc(idle, func(q request.Queue) bool {
			now, err := request.ReadQueue(ctx, b, q.Durable)
			return err == nil && now.Pulls > 0
		})
	}
	return idle
}

func (d *Doctor) checkDeadLetters(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "dead letters"
	t := request.NewCounter(b)
	if err := t.Read(ctx); err != nil {
		r.problem(check, "check the broker", "they can't be counted: %v", err)
		return
	}
	n := 0
	for _, count := range t.ByCause() {
		n += count
	}
	if n > 0 {
		r.warn(check, "tieback dead list", "%d are unresolved", n)
		return
	}
	r.ok(check, "none is unresolved")
}

// checkSweeps checks when each company was swept last.
func (d *Doctor) checkSweeps(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "sweep"
	for _, id := range sorted(d.Companies) {
		if !d.selected(id) {
			continue
		}
		raw, err := state.Of(b).SweepCheckpoint(ctx, id)
		var last struct {
			At time.Time `json:"at"`
		}
		if err == nil && raw != "" {
			err = json.Unmarshal([]byte(raw), &last)
		}
		late := 2*d.Settings.SweepEvery + time.Minute
		switch age := time.Since(last.At).Round(time.Second); {
		case err != nil:
			r.addOf(id, check, Problem, "check the broker", "its checkpoint can't be read: %v", err)
		case last.At.IsZero():
			r.addOf(id, check, Warning, "start the service sweep, or see its log", "the company has not been swept completely yet")
		case age > late:
			r.addOf(id, check, Warning, "check that the service sweep runs, and see its log", "the company was last swept %v ago, and should be every %v", age, d.Settings.SweepEvery)
		default:
			r.addOf(id, check, OK, "", "the company was swept %v ago", age)
		}
	}
}
