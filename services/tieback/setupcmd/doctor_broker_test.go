package setupcmd

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/doctor"
)

// The buckets are streams, too, and a consumer is more than its filter.
func TestTheDoctorComparesBucketsAndConsumers(t *testing.T) {
	w, stop := served(t)
	stop()
	nc, err := nats.Connect(os.Getenv("TIEBACK_NATS_URL"))
	w.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	w.must(err)
	w.doctor().has("streams", doctor.OK, fmt.Sprintf("%d streams are as this version wants them", len(bus.Kinds)+3))
	s, err := js.Stream(t.Context(), "KV_tieback-state")
	w.must(err)
	cfg := s.CachedInfo().Config
	cfg.MaxMsgsPerSubject = 7
	_, err = js.UpdateStream(t.Context(), cfg)
	w.must(err)
	c, err := js.Consumer(t.Context(), bus.Event.Stream(), "export")
	w.must(err)
	consumer := c.CachedInfo().Config
	consumer.MaxDeliver = 3
	_, err = js.UpdateConsumer(t.Context(), bus.Event.Stream(), consumer)
	w.must(err)
	e := w.doctor()
	e.has("streams", doctor.Warning, "KV_tieback-state has max_msgs_per_subject 7, should have 1")
	e.has("consumers", doctor.Warning, "export has max_deliver 3")
	t.Setenv("TIEBACK_NATS_REPLICAS", "3")
	e = w.doctor()
	for _, name := range bus.Streams(true) {
		e.has("streams", doctor.Warning, name+" has 1 replicas, TIEBACK_NATS_REPLICAS says 3")
	}
	e.has("losses", doctor.OK, "lost nothing that can be seen")
	w.must(js.DeleteStream(t.Context(), "KV_tieback-quota"))
	for _, subject := range []string{"tb.dead._._.7.1", "tb.dead._._.7.2", "tb.dead._._.7.3"} {
		_, err := js.Publish(t.Context(), subject, nil)
		w.must(err)
	}
	letters, err := js.Stream(t.Context(), bus.Dead.Stream())
	w.must(err)
	w.must(letters.DeleteMsg(t.Context(), 2))
	e = w.doctor()
	e.has("streams", doctor.Problem, "KV_tieback-quota: ")
	e.has("losses", doctor.Problem, "TIEBACK_DEAD has lost 1 message")
}

// What is kept is held against both limits that can be seen, before ingest takes nothing more.
func TestTheDoctorSeesHowFullTheBrokerIs(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.broker("accounts { A { jetstream { max_file: 1GB }, users [{ user: a, password: a }] } }\nno_auth_user: a")
	w.connect()
	stop := w.run()
	w.press()
	stop()
	const limit = 1 << 40
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(uint64(limit)))
	e := w.doctor()
	e.has("room", doctor.OK, "its limit at the broker")
	var used uint64
	for _, f := range e.findings {
		if strings.Contains(f.Text, "TIEBACK_NATS_MAX_BYTES") {
			_, err := fmt.Sscanf(f.Text, "the streams take %d of", &used)
			w.must(err)
		}
	}
	if used == 0 {
		t.Fatalf("the streams take nothing: %s", e.text)
	}
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(used*5/4)) // 0.8 is taken
	w.doctor().has("room", doctor.Warning, "TIEBACK_NATS_MAX_BYTES")
	t.Setenv("TIEBACK_NATS_MAX_BYTES", fmt.Sprint(used)) // ingest answers 503
	w.doctor().has("room", doctor.Problem, "at nine tenths ingest takes nothing new")
}

func TestTheDoctorSaysThatItSeesNoLimit(t *testing.T) {
	w, _ := served(t)
	w.doctor().has("room", doctor.OK, "no limit can be seen from here")
}
