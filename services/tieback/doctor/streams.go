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

// checkStreams compares all streams, the buckets' among them, with what this version wants, and the broker's
// clock with ours.
func (d *Doctor) checkStreams(ctx context.Context, r *report, b *bus.Bus, shared bool) {
	const check = "streams"
	names, good := topology.StreamNames(shared), 0
	for _, name := range names {
		asked := time.Now()
		s, err := b.JetStream().Stream(ctx, name)
		if err != nil {
			r.problem(check, "run the provisioner, or start a service; if it is there, look at the broker's nodes: more than half must run", "%s: %v", name, err)
			continue
		}
		info := s.CachedInfo()
		if name == bus.Delivery.Stream() {
			d.clock(r, "broker clock", "the broker's", info.TimeStamp, asked, "set the clocks by NTP: ages and deadlines are told by them")
		}
		if d.checkStream(r, info) {
			good++
		}
	}
	if good == len(names) {
		r.ok(check, "%d streams are as this version wants them", good)
	}
}

// checkStream says whether a stream and its replicas are as they should be.
func (d *Doctor) checkStream(r *report, info *jetstream.StreamInfo) bool {
	const check, nodes = "streams", "look at the broker's nodes: are all of them running, and do they reach each other?"
	name, bad := info.Config.Name, len(r.all)
	if differs := topology.StreamDiffers(info.Config, topology.Config{Replicas: d.Settings.Replicas}); len(differs) > 0 {
		r.warn(check, "run the provisioner of this version, or restart a service", "%s %s", name, strings.Join(differs, "; "))
	}
	if info.Cluster != nil && info.Cluster.Leader == "" {
		r.problem(check, "look at the broker's nodes: more than half must run", "%s has no leader", name)
	}
	offline, behind := bus.LaggingReplicas(info.Cluster)
	if len(offline) > 0 {
		r.problem(check, nodes, "%s: %d of %d replicas are offline: %s", name, len(offline), info.Config.Replicas, strings.Join(offline, ", "))
	}
	if len(behind) > 0 {
		r.warn(check, "wait until they have caught up; then run this again", "%s: %d of %d replicas lag behind: %s", name, len(behind), info.Config.Replicas, strings.Join(behind, ", "))
	}
	return len(r.all) == bad
}

// clock compares another's clock with ours. Theirs was read between asked and now.
func (d *Doctor) clock(r *report, check, whose string, theirs, asked time.Time, do string) {
	if theirs.IsZero() {
		return
	}
	var off time.Duration
	switch now := time.Now(); {
	case theirs.Before(asked):
		off = asked.Sub(theirs)
	case theirs.After(now):
		off = theirs.Sub(now)
	}
	if off > 5*time.Second {
		r.warn(check, do, "%s clock and ours are %v apart", whose, off.Round(time.Second))
		return
	}
	r.ok(check, "%s clock agrees with ours", whose)
}

// checkConsumers says which stops have nobody.
func (d *Doctor) checkConsumers(ctx context.Context, r *report, b *bus.Bus) {
	const check = "consumers"
	good := 0
	var alone []request.Queue
	queues, unread := request.Queues(ctx, b)
	for _, q := range queues {
		differs := q.Differs(q.Config)
		switch err := unread[q.Name]; {
		case err != nil:
			r.problem(check, "look at the broker", "%s: %v", q.Name, err)
		case !q.Exists:
			r.warn(check, "start the service "+q.Name, "%s has never run here: it has no consumer of %s", q.Name, q.Kind.Stream())
		case len(differs) > 0:
			r.warn(check, "run the provisioner of this version, or restart the service", "%s %s", q.Name, strings.Join(differs, "; "))
		case q.Pulls == 0:
			alone = append(alone, q)
		default:
			good++
		}
	}
	good += len(alone)
	for _, q := range d.stillAlone(ctx, b, alone) {
		good--
		if q.InFlight > 0 {
			r.warn(check, "start the service "+q.Name+", if it is stopped", "nobody asks for work at %s: it is stopped, or busy with the %d that are out; %d wait", q.Name, q.InFlight, q.Pending)
			continue
		}
		r.problem(check, "start the service "+q.Name, "nobody takes from %s; %d wait", q.Name, q.Pending)
	}
	if good == len(queues) {
		r.ok(check, "%d stops have somebody who works them", good)
	}
}

// stillAlone looks again and again for services that were just between two questions to the broker, and gives the
// queues that nobody asked for work.
func (d *Doctor) stillAlone(ctx context.Context, b *bus.Bus, alone []request.Queue) []request.Queue {
	for end := time.Now().Add(d.Look); len(alone) > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return alone
		case <-time.After(d.Look / 10):
		}
		alone = slices.DeleteFunc(alone, func(q request.Queue) bool {
			now, err := request.ReadQueue(ctx, b, q.Durable)
			return err == nil && now.Pulls > 0
		})
	}
	return alone
}

func (d *Doctor) checkLetters(ctx context.Context, r *report, b *bus.Bus) {
	const check = "dead letters"
	t := request.NewCounter(b)
	if err := t.Read(ctx); err != nil {
		r.problem(check, "look at the broker", "they can't be counted: %v", err)
		return
	}
	n := 0
	for _, some := range t.ByCause() {
		n += some
	}
	if n > 0 {
		r.warn(check, "tieback dead list", "%d wait for somebody", n)
		return
	}
	r.ok(check, "none is open")
}

// checkSweeps says whether each company was swept lately.
func (d *Doctor) checkSweeps(ctx context.Context, r *report, b *bus.Bus) {
	for _, id := range sorted(d.Companies) {
		if d.OnlyFor != 0 && d.OnlyFor != id {
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
			r.problem("sweep", "look at the broker", "company %d: %v", id, err)
		case last.At.IsZero():
			r.warn("sweep", "start the service sweep; its log says what keeps it", "company %d was never swept to the end", id)
		case age > late:
			r.warn("sweep", "is the service sweep running? Its log says what keeps it", "company %d was last swept %v ago, it should be every %v", id, age, d.Settings.SweepEvery)
		default:
			r.ok("sweep", "company %d was swept %v ago", id, age)
		}
	}
}
