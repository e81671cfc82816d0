package doctor

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// An offline or lagging replica is reported with its node, and so is a stream without a leader.
func TestReplicasAreReported(t *testing.T) {
	here := &jetstream.PeerInfo{Name: "nats-1", Current: true}
	for name, c := range map[string]struct {
		leader   string
		replicas []*jetstream.PeerInfo
		level    Level
		says     string
	}{
		"offline":   {"nats-0", []*jetstream.PeerInfo{here, {Name: "nats-2", Offline: true}}, Problem, "1 of 3 replicas are offline: nats-2"},
		"behind":    {"nats-0", []*jetstream.PeerInfo{here, {Name: "nats-2", Lag: 40}}, Warning, "1 of 3 replicas lag behind: nats-2"},
		"no leader": {"", []*jetstream.PeerInfo{here, here}, Problem, "has no leader"},
		"well":      {"nats-0", []*jetstream.PeerInfo{here, here}, OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &findings{}
			good := (&Doctor{}).checkStream(r, &jetstream.StreamInfo{
				Config:  jetstream.StreamConfig{Name: "KV_tieback-state", Replicas: 3, Metadata: map[string]string{"tieback.layout": "9"}}, // a newer version's: not compared
				Cluster: &jetstream.ClusterInfo{Leader: c.leader, Replicas: c.replicas},
			})
			if good != (c.level == OK) || newReport(r.all).Worst() != c.level {
				t.Fatalf("good: %v, %+v", good, r.all)
			}
			if c.says != "" && (len(r.all) != 1 || !strings.Contains(r.all[0].Text, c.says) || r.all[0].Action == "") {
				t.Errorf("%+v", r.all)
			}
		})
	}
}
