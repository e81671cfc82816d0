// Package topology declares what Tieback has at the broker: the streams, the durable consumers, and the accounts and
// permissions of the services. It connects to nothing; package bus creates what it declares.
//
//	stream              subjects           retention  written by
//	TIEBACK_DELIVERY    tb.delivery.>      Retention  ingest; sweep; people (replays)
//	TIEBACK_EVENT       tb.event.>         Retention  fetcher; people (replays)
//	TIEBACK_OUTCOME     tb.outcome.>       Retention  workers; fetcher (failures, requests not processed); status-reporter (deadlines); sweep; people (replays)
//	TIEBACK_CLOSED      tb.closed.>        Retention  status-reporter
//	TIEBACK_DEAD        tb.dead.>          for ever   the stage that gives up
//	TIEBACK_RESOLUTION  tb.resolution.>    for ever   people, through tieback dead or the console
//	KV_tieback-quota    Procore's rate limits and refused logins, for display: see bus.Quota
//	KV_tieback-seen     the streams' watermarks, and the last backup: see bus.RecordWatermarks, bus.RecordBackup
//	KV_tieback-state    records of package state, and attempts: see bus.Bucket
//
// All streams have the limits retention policy: an ack deletes nothing, and the history of a request can be read by its
// subject. The streams of the kinds have no maximum age at the broker, which would delete unfinished messages too. The sweep
// removes finished messages when their retention has ended; see bus.Remover.
package topology

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Kind is the kind of a message. Each kind has its own stream.
type Kind string

// The kinds, in the order of the pipeline.
const (
	Delivery   Kind = "delivery"   // ingest → fetcher
	Event      Kind = "event"      // fetcher → worker
	Outcome    Kind = "outcome"    // worker → status-reporter
	Closed     Kind = "closed"     // reports that the status-reporter has made to Procore
	Dead       Kind = "dead"       // messages that a stage could not process
	Resolution Kind = "resolution" // how a person resolved a dead letter
)

// Kinds lists all kinds.
var Kinds = []Kind{Delivery, Event, Outcome, Closed, Dead, Resolution}

// Stream returns the name of the kind's stream.
func (k Kind) Stream() string { return "TIEBACK_" + strings.ToUpper(string(k)) }

// Subjects returns the filter of all messages of the kind.
func (k Kind) Subjects() string { return "tb." + string(k) + ".>" }

// Bucket is the name of a key-value bucket.
type Bucket string

// The buckets.
const (
	State Bucket = "tieback-state"
	Seen  Bucket = "tieback-seen"
	Quota Bucket = "tieback-quota"
)

// Stream returns the name of the bucket's stream.
func (b Bucket) Stream() string { return "KV_" + string(b) }

// Subject returns the subject of a key, which may be a filter.
func (b Bucket) Subject(key string) string { return "$KV." + string(b) + "." + key }

// BackupKey is the key of the bucket Seen that has the last complete backup; the other keys are names of streams.
const BackupKey = "backup"

// Config are the settings of the streams that an operator chooses.
type Config struct {
	Replicas  int // minimum number of replicas of each stream; 0 means 1
	Retention Retention
}

// Version is the version of the configuration of streams, buckets and durable consumers. Increment it with every change
// to that configuration. It is stored in their metadata, so that an older version does not revert the configuration of a
// newer one.
const (
	Version    = 2
	versionKey = "tieback.layout"
)

func metadata() map[string]string {
	return map[string]string{versionKey: strconv.Itoa(Version)}
}

// IsNewer reports whether the metadata were written by a newer version.
func IsNewer(metadata map[string]string) bool {
	n, err := strconv.Atoi(metadata[versionKey])
	return err == nil && n > Version
}

// Stream is the configuration of a stream in this version.
type Stream struct {
	jetstream.StreamConfig
	LeaderReads bool          // with replicas, only the leader answers reads: a follower may lag
	Volatile    bool          // it may lose its content; see For
	Keep        time.Duration // how long finished messages are kept; 0: as the existing stream says, or Default
	Default     time.Duration // of Keep, for a new stream; 0: messages are kept for ever, or as StreamConfig says
}

// Streams returns all streams, including those of the buckets.
func Streams(c Config) []Stream {
	var all []Stream
	for _, k := range Kinds {
		all = append(all, KindStream(k, c))
	}
	return append(all, StateStream(c), SeenStream(c), QuotaStream(c))
}

// KindStream returns the stream of a kind.
func KindStream(k Kind, c Config) Stream {
	cfg := jetstream.StreamConfig{
		Name: k.Stream(), Subjects: []string{k.Subjects()},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		Storage: jetstream.FileStorage, Replicas: c.Replicas,
		Duplicates: 10 * time.Minute, AllowAtomicPublish: true,
	}
	return Stream{StreamConfig: cfg, Keep: c.Retention.Of(k), Default: DefaultRetention.Of(k)}
}

// StateStream returns the stream of the bucket State. Clients for key-value buckets can open it. It is not created with their
// API, because any replica of such a bucket may answer a read: a follower may lag and return a record's previous generation.
// With replicas, reads of State go to the leader.
func StateStream(c Config) Stream {
	return Stream{LeaderReads: true, StreamConfig: jetstream.StreamConfig{
		Name: State.Stream(), Description: "links, generations, cursors and attempts of Tieback", Subjects: []string{State.Subject(">")},
		Storage: jetstream.FileStorage, Replicas: c.Replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DenyDelete: true, AllowAtomicPublish: true,
		AllowMsgTTL: true, Duplicates: 2 * time.Minute,
	}}
}

// SeenStream returns the stream of the bucket Seen, which has one key for each stream. It is a stream of its own: a damaged
// stream could lose its own watermark.
func SeenStream(c Config) Stream {
	return Stream{LeaderReads: true, StreamConfig: jetstream.StreamConfig{
		Name: Seen.Stream(), Description: "watermarks of Tieback's streams", Subjects: []string{Seen.Subject(">")},
		Storage: jetstream.FileStorage, Replicas: c.Replicas, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DenyDelete: true,
	}}
}

const (
	quotaValueMost = 1<<20 + 1<<10 // the limit of pkg/procore, and the headers
	quotaMost      = 32 << 20
)

// QuotaStream returns the stream of the bucket Quota. Its size is bounded, because each service that calls Procore may write
// all keys.
func QuotaStream(c Config) Stream {
	return Stream{LeaderReads: true, Volatile: true, StreamConfig: jetstream.StreamConfig{
		Name: Quota.Stream(), Description: "Procore's rate limits as Tieback's processes know them", Subjects: []string{Quota.Subject(">")},
		Replicas: c.Replicas, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, DenyDelete: true,
		MaxMsgSize: quotaValueMost, MaxBytes: quotaMost, MaxAge: 24 * time.Hour,
	}}
}

// For returns the configuration to create or update the stream with. has is the configuration that the stream has now; nil: it
// does not exist. For never lowers the number of replicas, and changes the retention only if Keep is set: a command that runs in
// a shell without TIEBACK_NATS_REPLICAS or TIEBACK_RETENTION_… must not remove replicas or shorten the retention.
//
// A volatile stream is not synced to disk, but must exist after a restart, because services may have no right to create
// it. With several replicas its storage is memory, because the cluster keeps the stream's configuration. A single broker
// would lose that configuration, so there it is a file with asynchronous writes.
func (s Stream) For(has *jetstream.StreamConfig) jetstream.StreamConfig {
	cfg := s.StreamConfig
	if has == nil {
		has = &jetstream.StreamConfig{}
	}
	cfg.Metadata = metadata()
	if keep := cmp.Or(s.Keep, RetentionOf(*has), s.Default); keep > 0 {
		cfg.Metadata[retentionKey] = keep.String()
	}
	cfg.Replicas = max(1, cfg.Replicas, has.Replicas)
	cfg.AllowDirect = !s.LeaderReads || cfg.Replicas == 1
	switch {
	case s.Volatile && cfg.Replicas == 1:
		cfg.Storage, cfg.PersistMode = jetstream.FileStorage, jetstream.AsyncPersistMode
	case s.Volatile:
		cfg.Storage = jetstream.MemoryStorage
	}
	return cfg
}
