package doctor_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

// The buckets are streams, too, and a consumer is more than its filter.
func TestTheDoctorComparesBucketsAndConsumers(t *testing.T) {
	s, stop := served(t)
	stop()
	nc, err := nats.Connect(os.Getenv("TIEBACK_NATS_URL"))
	s.Must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	s.Must(err)
	s.Doctor().Has("streams", doctor.OK, fmt.Sprintf("%d streams have the configuration of this version", len(bus.Kinds)+3))
	stream, err := js.Stream(t.Context(), "KV_tieback-state")
	s.Must(err)
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgsPerSubject = 7
	_, err = js.UpdateStream(t.Context(), cfg)
	s.Must(err)
	c, err := js.Consumer(t.Context(), bus.Event.Stream(), "export")
	s.Must(err)
	consumer := c.CachedInfo().Config
	consumer.MaxDeliver = 3
	_, err = js.UpdateConsumer(t.Context(), bus.Event.Stream(), consumer)
	s.Must(err)
	e := s.Doctor()
	e.Has("streams", doctor.Warning, "KV_tieback-state has max_msgs_per_subject 7, should have 1")
	e.Has("consumers", doctor.Warning, "export has max_deliver 3")
	t.Setenv("TIEBACK_NATS_REPLICAS", "3")
	e = s.Doctor()
	for _, name := range topology.StreamNames(true) {
		e.Has("streams", doctor.Warning, name+" has 1 replicas, TIEBACK_NATS_REPLICAS says 3")
	}
	e.Has("losses", doctor.OK, "none is visible")
	s.Must(js.DeleteStream(t.Context(), "KV_tieback-quota"))
	for _, subject := range []string{"tb.dead._._.7.1", "tb.dead._._.7.2", "tb.dead._._.7.3"} {
		_, err := js.Publish(t.Context(), subject, nil)
		s.Must(err)
	}
	dead, err := js.Stream(t.Context(), bus.Dead.Stream())
	s.Must(err)
	s.Must(dead.DeleteMsg(t.Context(), 2))
	e = s.Doctor()
	e.Has("streams", doctor.Problem, "KV_tieback-quota: ")
	e.Has("losses", doctor.Problem, "TIEBACK_DEAD has lost 1 message")
}

// What is kept is held against both limits that can be seen, before ingest takes nothing more.
func TestTheDoctorSeesHowFullTheBrokerIs(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Broker("accounts { A { jetstream { max_file: 1GB }, users [{ user: a, password: a }] } }\nno_auth_user: a")
	s.Connect()
	stop := s.Start()
	s.Press()
	stop()
	const limit = 1 << 40
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(uint64(limit)))
	e := s.Doctor()
	e.Has("limits", doctor.OK, "the account's limit at the broker")
	var used uint64
	for _, f := range e.Findings {
		if strings.Contains(f.Text, "TIEBACK_NATS_MAX_BYTES") {
			_, err := fmt.Sscanf(f.Text, "the streams use %d of", &used)
			s.Must(err)
		}
	}
	if used == 0 {
		t.Fatalf("the streams take nothing: %s", e.Text)
	}
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(used*5/4)) // 0.8 is taken
	s.Doctor().Has("limits", doctor.Warning, "TIEBACK_NATS_MAX_BYTES")
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(used)) // ingest answers 503
	s.Doctor().Has("limits", doctor.Problem, "from 90 % on ingest answers 503")
}

func TestTheDoctorSaysThatItSeesNoLimit(t *testing.T) {
	s, _ := served(t)
	s.Doctor().Has("limits", doctor.OK, "there is no limit")
}
