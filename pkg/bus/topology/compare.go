package topology

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamNames returns the names of all streams, including those of the buckets. The stream of Procore's rate limits is
// included if shared: an embedded broker has none, because a single process shares the limits with no other.
func StreamNames(shared bool) []string {
	var names []string
	for _, s := range Streams(Config{}) {
		if shared || s.Name != Quota.Stream() {
			names = append(names, s.Name)
		}
	}
	return names
}

// StreamDifferences describes what bus.SetUp with the same settings would change in a stream's configuration; nil: nothing.
// SetUp changes nothing that a newer version has configured.
func StreamDifferences(has jetstream.StreamConfig, c Config) []string {
	all := Streams(c)
	i := slices.IndexFunc(all, func(s Stream) bool { return s.Name == has.Name })
	switch {
	case i < 0:
		return []string{"is not a stream of this version"}
	case IsNewer(has.Metadata):
		return nil
	}
	want := all[i].For(&has)
	var differences []string
	if has.Replicas < want.Replicas {
		differences = []string{fmt.Sprintf("has %d replicas, TIEBACK_NATS_REPLICAS says %d", has.Replicas, want.Replicas)}
	}
	differences = append(differences, compare(fields(want), fields(has), "num_replicas")...)
	if is, should := RetentionOf(has), RetentionOf(want); is != should {
		differences = append(differences, fmt.Sprintf("has the retention %v, should have %v", is, should))
	}
	return append(differences, versionDifferences(has.Metadata)...)
}

// Differences is StreamDifferences for a consumer. It ignores ack_wait, which services set as they need it.
func (d Durable) Differences(has jetstream.ConsumerConfig) []string {
	if IsNewer(has.Metadata) {
		return nil
	}
	return append(compare(fields(d.Config(has.AckWait)), fields(has), "name", "num_replicas"), versionDifferences(has.Metadata)...)
}

// defaulted are settings for which the broker has defaults.
var defaulted = []string{"duplicate_window", "max_waiting"}

// compare describes the differences of two configurations. It skips the ignored settings, and the metadata, because the
// broker adds its own.
func compare(want, has map[string]any, ignored ...string) (differences []string) {
	ignored = append(ignored, "metadata")
	for name := range has {
		if _, ok := want[name]; !ok {
			want[name] = nil
		}
	}
	for name, value := range want {
		switch {
		case slices.Contains(ignored, name), reflect.DeepEqual(value, has[name]), isUnset(value) && (isUnset(has[name]) || slices.Contains(defaulted, name)):
		case isUnset(has[name]):
			differences = append(differences, fmt.Sprintf("has no %s, should have %v", name, value))
		case isUnset(value):
			differences = append(differences, fmt.Sprintf("has %s %v, should have none", name, has[name]))
		default:
			differences = append(differences, fmt.Sprintf("has %s %v, should have %v", name, has[name], value))
		}
	}
	slices.Sort(differences)
	return differences
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

func versionDifferences(has map[string]string) []string {
	if has[versionKey] == metadata()[versionKey] {
		return nil
	}
	return []string{"is of an older version"}
}

// Changes describes what bus.SetUp did to a configuration: "created", "unchanged", "left as a newer version configured it",
// or "changed: …" with the names of the changed settings. before is nil if the stream or consumer did not exist.
func Changes[C any](before *C, after C, metadata map[string]string) string {
	switch {
	case before == nil:
		return "created"
	case IsNewer(metadata):
		return "left as a newer version configured it"
	}
	var names []string
	was, is := fields(*before), fields(after)
	all := maps.Clone(was)
	maps.Copy(all, is)
	for name := range all {
		if !reflect.DeepEqual(was[name], is[name]) {
			names = append(names, name)
		}
	}
	if names == nil {
		return "unchanged"
	}
	slices.Sort(names)
	return "changed: " + strings.Join(names, ", ")
}

// fields returns the settings of a configuration by their JSON names.
func fields(cfg any) map[string]any {
	var all map[string]any
	raw, err := json.Marshal(cfg)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return nil // impossible: it came from the broker as JSON
	}
	return all
}
