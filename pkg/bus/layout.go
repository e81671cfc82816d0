package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// layoutNumber is raised by one with every change of how a stream, a bucket or a durable consumer is
// configured. It lies in their metadata: what a newer version made is left as it is by an older one,
// which could only undo it.
const (
	layoutNumber = 1
	layoutKey    = "tieback.layout"
)

func layoutMetadata() map[string]string {
	return map[string]string{layoutKey: strconv.Itoa(layoutNumber)}
}

// newer says whether a newer version than this has made something.
func isNewer(metadata map[string]string) bool {
	n, err := strconv.Atoi(metadata[layoutKey])
	return err == nil && n > layoutNumber
}

// wanted is a stream as this version wants it.
type streamSpec struct {
	jetstream.StreamConfig
	leaderReads bool // where there are replicas only the leader answers: a follower may lag
	volatile    bool // see fit; what can't be changed in place is made anew, empty
}

// layout is every stream there is, the buckets' among them.
func layout(o Options) []streamSpec {
	var all []streamSpec
	for _, k := range Kinds {
		all = append(all, kindStream(k, o))
	}
	return append(all, stateStream(o), seenStream(o), quotaStream(o.Replicas))
}

func kindStream(k Kind, o Options) streamSpec {
	if o.Retention == 0 {
		o.Retention = 30 * 24 * time.Hour
	}
	cfg := jetstream.StreamConfig{
		Name: k.Stream(), Subjects: []string{k.subjects()},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: o.Retention,
		Storage: jetstream.FileStorage, Replicas: o.Replicas,
		Duplicates: 10 * time.Minute, AllowAtomicPublish: true,
	}
	cfg.Duplicates = min(cfg.Duplicates, o.Retention)
	if k == Dead || k == Resolution {
		cfg.MaxAge = 0 // a dead letter stays until somebody has dealt with it, and who did stays too
	}
	return streamSpec{StreamConfig: cfg}
}

// fit is the configuration with no fewer replicas than there are: a command run beside a cluster,
// in a shell that does not say how many, must not undo them.
//
// What may be forgotten need not be synced, but its stream must be there after a restart, as services
// may have no right to make it. With replicas it is kept in memory, and the cluster remembers that
// there is such a stream; a single broker would not, so there it is a file that nobody waits for.
func (w streamSpec) config(replicas int) jetstream.StreamConfig {
	cfg := w.StreamConfig
	cfg.Metadata = layoutMetadata()
	cfg.Replicas = max(1, cfg.Replicas, replicas)
	cfg.AllowDirect = !w.leaderReads || cfg.Replicas == 1
	switch {
	case w.volatile && cfg.Replicas == 1:
		cfg.Storage, cfg.PersistMode = jetstream.FileStorage, jetstream.AsyncPersistMode
	case w.volatile:
		cfg.Storage = jetstream.MemoryStorage
	}
	return cfg
}
