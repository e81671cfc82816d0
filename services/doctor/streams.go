package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/deadletters"
)

// checkStreams compares the streams with what this version wants, and the broker's clock with ours.
func (d *Doctor) checkStreams(ctx context.Context, r *report, b *bus.Bus) {
	const check = "streams"
	good := 0
	for _, k := range bus.Kinds {
		asked := time.Now()
		s, err := b.JetStream().Stream(ctx, k.Stream())
		if err != nil {
			r.problem(check, "run the program streams, or start a service", "%s: %v", k.Stream(), err)
			continue
		}
		info := s.CachedInfo()
		if k == bus.Delivery {
			d.clock(r, "broker clock", "the broker's", info.TimeStamp, asked, "set the clocks by NTP: ages and deadlines are told by them")
		}
		if wrong := d.wrong(k, info.Config); wrong != "" {
			r.warn(check, "run the program streams of this version, or restart a service", "%s %s", k.Stream(), wrong)
			continue
		}
		if info.Cluster != nil && info.Cluster.Leader == "" {
			r.problem(check, "look at the broker's nodes: more than half must run", "%s has no leader", k.Stream())
			continue
		}
		good++
	}
	if good == len(bus.Kinds) {
		r.ok(check, "%d streams are as this version wants them", good)
	}
}

// wrong says what about a stream is not as it should be; "": nothing.
func (d *Doctor) wrong(k bus.Kind, cfg jetstream.StreamConfig) string {
	switch {
	case !slices.Equal(cfg.Subjects, []string{"tb." + string(k) + ".>"}):
		return fmt.Sprintf("holds %v", cfg.Subjects)
	case cfg.Retention != jetstream.LimitsPolicy || cfg.Discard != jetstream.DiscardNew:
		return "drops what it should keep"
	case cfg.Storage != jetstream.FileStorage:
		return "is not on disk"
	case !cfg.AllowAtomicPublish:
		return "takes no atomic batches"
	case cfg.Replicas < d.Settings.Replicas:
		return fmt.Sprintf("has %d replicas, TIEBACK_NATS_REPLICAS says %d", cfg.Replicas, d.Settings.Replicas)
	}
	return ""
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
	var alone []jetstream.Consumer
	for _, want := range bus.Durables() {
		c, err := b.JetStream().Consumer(ctx, want.Kind.Stream(), want.Name)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			r.warn(check, "start the service "+want.Name, "%s has never run here: it has no consumer of %s", want.Name, want.Kind.Stream())
			continue
		case err != nil:
			r.problem(check, "look at the broker", "%s: %v", want.Name, err)
			continue
		}
		info := c.CachedInfo()
		switch {
		case info.Config.FilterSubject != want.Filter || info.Config.AckPolicy != jetstream.AckExplicitPolicy:
			r.warn(check, "run the program streams of this version, or restart the service", "%s takes %q", want.Name, info.Config.FilterSubject)
		case info.NumWaiting == 0:
			alone = append(alone, c)
		default:
			good++
		}
	}
	good += len(alone)
	for _, c := range d.stillAlone(ctx, alone) {
		good--
		info := c.CachedInfo()
		if info.NumAckPending > 0 {
			r.warn(check, "start the service "+info.Name+", if it is stopped", "nobody asks for work at %s: it is stopped, or busy with the %d that are out; %d wait", info.Name, info.NumAckPending, info.NumPending)
			continue
		}
		r.problem(check, "start the service "+info.Name, "nobody takes from %s; %d wait", info.Name, info.NumPending)
	}
	if good == len(bus.Durables()) {
		r.ok(check, "%d stops have somebody who works them", good)
	}
}

// stillAlone looks again and again for services that were just between two questions to the broker, and gives the
// consumers that nobody asked.
func (d *Doctor) stillAlone(ctx context.Context, alone []jetstream.Consumer) []jetstream.Consumer {
	for end := time.Now().Add(d.Look); len(alone) > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return alone
		case <-time.After(d.Look / 10):
		}
		alone = slices.DeleteFunc(alone, func(c jetstream.Consumer) bool {
			info, err := c.Info(ctx)
			return err == nil && info.NumWaiting > 0
		})
	}
	return alone
}

func (d *Doctor) checkLetters(ctx context.Context, r *report, b *bus.Bus) {
	const check = "dead letters"
	t := deadletters.NewTally(b)
	if err := t.Read(ctx); err != nil {
		r.problem(check, "look at the broker", "they can't be counted: %v", err)
		return
	}
	n := 0
	for _, some := range t.Open() {
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
		raw, err := b.State().Cursor(ctx, id, "swept")
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
