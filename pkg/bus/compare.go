package bus

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams returns the names of all streams, including those of the buckets. The stream of Procore's rate limits is included
// if shared: an embedded broker has none, as a single process has the limits to itself.
func Streams(shared bool) []string {
	var names []string
	for _, w := range layout(Options{}) {
		if shared || w.Name != quotaName {
			names = append(names, w.Name)
		}
	}
	return names
}

// StreamDiffers returns, in words, what SetUp with the same options would change in a stream's configuration; nil: nothing.
// The configuration of a newer version is left as it is.
func StreamDiffers(has jetstream.StreamConfig, o Options) []string {
	all := layout(o)
	i := slices.IndexFunc(all, func(w streamSpec) bool { return w.Name == has.Name })
	switch {
	case i < 0:
		return []string{"is no stream of this version"}
	case isNewer(has.Metadata):
		return nil
	}
	want := all[i].config(has.Replicas)
	var differs []string
	if has.Replicas < want.Replicas {
		differs = []string{fmt.Sprintf("has %d replicas, TIEBACK_NATS_REPLICAS says %d", has.Replicas, want.Replicas)}
	}
	differs = append(differs, compare(fields(want), fields(has), "num_replicas")...)
	return append(differs, layoutDiffers(has.Metadata)...)
}

// Differs is StreamDiffers for a consumer. It ignores ack_wait, which services set as they need it.
func (d Durable) Differs(has jetstream.ConsumerConfig) []string {
	if isNewer(has.Metadata) {
		return nil
	}
	return append(compare(fields(d.config(has.AckWait)), fields(has), "name", "num_replicas"), layoutDiffers(has.Metadata)...)
}

// filled are settings for which the broker has defaults.
var filled = []string{"duplicate_window", "max_waiting"}

// compare compares the settings of two configurations, except the metadata, which the broker writes as well.
func compare(want, has map[string]any, but ...string) (differs []string) {
	but = append(but, "metadata")
	for name := range has {
		if _, there := want[name]; !there {
			want[name] = nil
		}
	}
	for name, value := range want {
		switch {
		case slices.Contains(but, name), reflect.DeepEqual(value, has[name]), isUnset(value) && (isUnset(has[name]) || slices.Contains(filled, name)):
		case isUnset(has[name]):
			differs = append(differs, fmt.Sprintf("has no %s, should have %v", name, value))
		case isUnset(value):
			differs = append(differs, fmt.Sprintf("has %s %v, should have none", name, has[name]))
		default:
			differs = append(differs, fmt.Sprintf("has %s %v, should have %v", name, has[name], value))
		}
	}
	slices.Sort(differs)
	return differs
}

// isUnset reports whether a setting is not set; the broker writes some unset values as -1.
func isUnset(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case float64:
		return v == 0 || v == -1
	case map[string]any:
		return len(v) == 0
	}
	return reflect.ValueOf(v).IsZero()
}

func layoutDiffers(has map[string]string) []string {
	if has[layoutKey] == layoutMetadata()[layoutKey] {
		return nil
	}
	return []string{"is of an older version"}
}

// LaggingReplicas returns the names of the servers whose replica of a stream is offline or behind its leader. A single broker
// has none.
func LaggingReplicas(c *jetstream.ClusterInfo) (offline, behind []string) {
	if c == nil {
		return nil, nil
	}
	for _, r := range c.Replicas {
		switch {
		case r.Offline:
			offline = append(offline, r.Name)
		case !r.Current:
			behind = append(behind, r.Name)
		}
	}
	return offline, behind
}
