package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// During an upgrade two versions use the same streams. These tests give this version messages, subjects and streams of an older and
// a newer one; `make rolling OLD=REF` runs the processes of both.

// newerField is a field that a newer version may write.
var newerField = protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "from a newer version")

// published publishes data on any subject.
func (l *line) published(subject string, data []byte) {
	l.world.Helper()
	_, err := l.Bus.JetStream().Publish(l.world.Context(), subject, data)
	l.world.must(err)
}

func (w *world) marshalled(m proto.Message) []byte {
	w.Helper()
	data, err := proto.Marshal(m)
	w.must(err)
	return data
}

// quiet waits until a consumer has finished its stream.
func (l *line) quiet(kind bus.Kind, consumer string) *jetstream.ConsumerInfo {
	l.world.Helper()
	ctx, cancel := context.WithTimeout(l.world.Context(), patience)
	defer cancel()
	for {
		c, err := l.Bus.JetStream().Consumer(ctx, kind.Stream(), consumer)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // its service is starting
		}
		l.world.must(err)
		if info := c.CachedInfo(); info.NumPending+uint64(info.NumAckPending) == 0 {
			return info
		}
	}
}

// Messages that are passed on or dead-lettered keep the fields that only a newer version knows.
func TestFieldsOfNewerVersionAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.run()
	told := &tiebackv1.Outcome{CompanyId: firstCompany, ErpRequestId: 901, Type: "create_vendor", CloseOuts: []*tiebackv1.CloseOut{{Status: tiebackv1.Status_STATUS_SUCCESS}}}
	told.CloseOuts[0].ProtoReflect().SetUnknown(newerField)
	l.published(bus.For(bus.Outcome, "create_vendor", firstCompany, 901).String(), slices.Concat(w.marshalled(told), newerField))
	closed := l.await(bus.Closed, 1)[0].Data()
	if n := bytes.Count(closed, newerField); n != 2 {
		t.Errorf("the close-out has %d of 2 fields of a newer version: %q", n, closed)
	}

	malformed := slices.Concat(w.marshalled(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 902, Type: "create_vendor", Payload: []byte("{")}), newerField)
	l.published(bus.For(bus.Event, "create_vendor", firstCompany, 902).String(), malformed)
	if d := l.deadLetterOf(902); !bytes.Equal(d.Message, malformed) {
		t.Errorf("the dead letter has %q, want %q", d.Message, malformed)
	}
}

// A replay publishes the message byte for byte.
func TestReplayKeepsFieldsOfNewerVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, outages)
	away := w.down()
	l := w.runWith(services{"fetcher": nil})
	id := w.press("create_vendor")
	l.stored(bus.For(bus.Delivery, "", firstCompany, id))
	event := w.eventOf(l, id)
	l.published(bus.For(bus.Event, "create_vendor", firstCompany, id).String(), slices.Concat(event, newerField))
	w.failed(id, "")
	away.Store(false)
	letter := l.listed(1)[0]
	w.ended(l.replayed(letter.ID)[letter.ID], tiebackv1.Status_STATUS_SUCCESS, "failed", "")
	m, has, err := l.Bus.Last(t.Context(), bus.For(bus.Event, "create_vendor", firstCompany, id).WithRun(fmt.Sprint(letter.ID)))
	w.must(err)
	if !has || !bytes.Equal(m.Data, slices.Concat(event, newerField)) {
		t.Errorf("the replay sent %q", m.Data)
	}
}

// eventOf returns the event that the fetcher publishes for a request.
func (w *world) eventOf(l *line, id int64) []byte {
	w.Helper()
	session, err := l.Procore.Company(firstCompany)
	w.must(err)
	var payload []byte
	for {
		payload, err = session.Do(w.Context(), procore.Call{Route: procore.GetERPRequest, ID: id})
		if fault.ClassOf(err) != fault.Throttled { // the limits are not known yet
			break
		}
	}
	w.must(err)
	return w.marshalled(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: id, Type: "create_vendor", Payload: payload})
}

// An older version wrote fewer fields. A missing field means what it meant before it existed.
func TestMessagesOfOlderVersionAreProcessed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.run()
	delivered, died := w.press("create_vendor"), w.press("create_vendor")
	l.published(bus.For(bus.Delivery, "", firstCompany, delivered).String(), w.marshalled(&tiebackv1.Delivery{CompanyId: firstCompany, ErpRequestId: delivered}))
	w.succeeded(delivered)

	on := bus.For(bus.Delivery, "", firstCompany, died)
	l.published(bus.For(bus.Dead, "", firstCompany, died).String(), w.marshalled(&tiebackv1.DeadLetter{
		CompanyId: firstCompany, ErpRequestId: died, Stage: "fetcher", Subject: on.String(),
		Message: w.marshalled(&tiebackv1.Delivery{CompanyId: firstCompany, ErpRequestId: died}),
	}))
	letter := l.listed(1)[0]
	if letter.State != request.StateUnresolved || letter.Cause() == "" {
		t.Errorf("the dead letter is %s, cause %q", letter.State, letter.Cause())
	}
	l.replayed(letter.ID)
	if r := w.wait(died); r.Outcome() != "success" {
		t.Errorf("the replay ended %q: %+v", r.Outcome(), r.Details)
	}
}

// A message of an event type or a run that only a newer version knows becomes a dead letter, unchanged.
func TestSubjectsOfNewerVersionAreDeadLettered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.run()
	subjects := map[string]string{ // with the stage that gives up
		fmt.Sprintf("tb.event.export.create_spaceship.%d.911", int64(firstCompany)):          "export",
		fmt.Sprintf("tb.outcome.export.create_vendor.%d.912.newer-1", int64(firstCompany)):   "status-reporter",
		fmt.Sprintf("tb.delivery._._.%d.913.newer-1", int64(firstCompany)):                   "fetcher",
		fmt.Sprintf("tb.outcome.archive.archive_vendor.%d.914", int64(firstCompany)):         "status-reporter",
		fmt.Sprintf("tb.event.export.create_vendor.%d.915.newer.token", int64(firstCompany)): "export",
	}
	data := map[string][]byte{}
	for subject := range subjects {
		data[subject] = slices.Concat(w.marshalled(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 911, Type: "create_spaceship", Payload: []byte(subject)}), newerField)
		l.published(subject, data[subject])
	}
	letters := l.letters(len(subjects))
	for subject, stop := range subjects {
		owner := fmt.Sprintf(".%d.%d", letters[subject].GetCompanyId(), letters[subject].GetErpRequestId())
		if d := letters[subject]; d == nil || d.Stage != stop || !bytes.Equal(d.Message, data[subject]) || !strings.Contains(subject, owner) {
			t.Errorf("%s: %v; want a dead letter of %s with the company and the whole message", subject, d, stop)
		}
	}
}

// Events of a category that only a newer version has wait for its service.
func TestCategoryOfNewerVersionWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.run()
	subject := fmt.Sprintf("tb.event.archive.archive_vendor.%d.921", int64(firstCompany))
	l.published(subject, newerField)
	for _, stop := range []string{"export", "sync", "import", "unlink", "reset"} {
		l.quiet(bus.Event, stop)
	}
	if n := len(l.messages(bus.Dead)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	c, err := l.Bus.JetStream().CreateConsumer(t.Context(), bus.Event.Stream(), jetstream.ConsumerConfig{Durable: "archive", FilterSubject: "tb.event.archive.>", AckPolicy: jetstream.AckExplicitPolicy})
	w.must(err)
	m, err := c.Next(jetstream.FetchMaxWait(patience))
	w.must(err)
	if m.Subject() != subject || !bytes.Equal(m.Data(), newerField) {
		t.Errorf("the service got %s %q", m.Subject(), m.Data())
	}
}

// Streams and consumers of an older version are updated, and their messages are processed.
func TestStreamsOfOlderVersionAreUpdated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	id := w.press("create_vendor")
	nc, err := nats.Connect("", srv.InProcess())
	w.must(err)
	js, err := jetstream.New(nc)
	w.must(err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: bus.Delivery.Stream(), Subjects: []string{"tb.delivery.>"}, Storage: jetstream.FileStorage, MaxAge: 24 * time.Hour})
	w.must(err)
	_, err = js.CreateConsumer(t.Context(), bus.Delivery.Stream(), jetstream.ConsumerConfig{Durable: "fetcher", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10, MaxDeliver: 5})
	w.must(err)
	_, err = js.Publish(t.Context(), bus.For(bus.Delivery, "", firstCompany, id).String(), w.marshalled(&tiebackv1.Delivery{CompanyId: firstCompany, ErpRequestId: id}))
	w.must(err)
	nc.Close()
	l := w.runOn(srv)
	w.succeeded(id)
	s, err := l.Bus.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	w.must(err)
	if cfg := s.CachedInfo().Config; !cfg.AllowAtomicPublish || cfg.MaxAge != 0 || topology.RetentionOf(cfg) != topology.DefaultRetention.Delivery {
		t.Errorf("the stream is %+v", cfg)
	}
	if cfg := l.quiet(bus.Delivery, "fetcher").Config; cfg.MaxDeliver != -1 || cfg.MaxAckPending <= 10 || cfg.FilterSubject != "tb.delivery.>" {
		t.Errorf("the consumer is %+v", cfg)
	}
	l.stop()
}

// layoutKey is the metadata key of the version of a stream or consumer.
const layoutKey = "tieback.layout"

// During an upgrade the last process to start may be of the older version.
func TestOlderVersionKeepsLayoutOfNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	first := w.runOn(srv)
	s, err := first.Bus.JetStream().Stream(t.Context(), bus.Closed.Stream())
	w.must(err)
	newer := s.CachedInfo().Config
	first.quiet(bus.Outcome, "status-reporter")
	newer.Metadata[layoutKey], newer.MaxAge, newer.Description = "1000000", 60*24*time.Hour, "of a newer version"
	_, err = first.Bus.JetStream().UpdateStream(t.Context(), newer)
	w.must(err)
	c, err := first.Bus.JetStream().Consumer(t.Context(), bus.Outcome.Stream(), "status-reporter")
	w.must(err)
	consumer := c.CachedInfo().Config
	consumer.Metadata[layoutKey], consumer.MaxAckPending = "1000000", 2_000_000
	_, err = first.Bus.JetStream().UpdateConsumer(t.Context(), bus.Outcome.Stream(), consumer)
	w.must(err)
	first.stop()
	second := w.runOn(srv)
	s, err = second.Bus.JetStream().Stream(t.Context(), bus.Closed.Stream())
	w.must(err)
	if is := s.CachedInfo().Config; is.MaxAge != newer.MaxAge || is.Description != newer.Description {
		t.Errorf("an older version changed it to %+v", is)
	}
	if is := second.quiet(bus.Outcome, "status-reporter").Config; is.MaxAckPending != consumer.MaxAckPending {
		t.Errorf("an older version changed it to %+v", is)
	}
	second.stop()
}
