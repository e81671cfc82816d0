package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// layoutNumber is the version of the configuration of streams, buckets and durable consumers. Every change of it adds
// one. It is stored in their metadata, so that an older version does not revert the configuration of a newer one.
const (
	layoutNumber = 1
	layoutKey    = "tieback.layout"
)

func layoutMetadata() map[string]string {
	return map[string]string{layoutKey: strconv.Itoa(layoutNumber)}
}

// isNewer reports whether the metadata were written by a newer version.
func isNewer(metadata map[string]string) bool {
	n, err := strconv.Atoi(metadata[layoutKey])
	return err == nil && n > layoutNumber
}

// streamSpec is the configuration of a stream in this version.
type streamSpec struct {
	jetstream.StreamConfig
	leaderReads bool // with replicas, only the leader answers reads: a follower may lag
	volatile    bool // it may lose its content; see config
}

// layout returns all streams, including those of the buckets.
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
		cfg.MaxAge = 0 // dead letters and their resolutions do not expire
	}
	return streamSpec{StreamConfig: cfg}
}

// config returns the configuration of a stream that has so many replicas, and never fewer than these: a command that runs
// in a shell without TIEBACK_NATS_REPLICAS must not remove them.
//
// A volatile stream is not synced to disk, but must exist after a restart, because services may have no right to create
// it. With replicas it is in memory, as the cluster keeps the configuration. A single broker would lose that, so there it
// is a file with asynchronous writes.
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
