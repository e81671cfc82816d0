package bustest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func copierAt(t *testing.T) (*bus.Bus, *bus.Copier) {
	t.Helper()
	o := bus.Options{URL: bustest.Start(t, server.Options{Port: -1}).ClientURL(), Log: zap.NewNop()}
	if err := bus.SetUp(t.Context(), o, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	c, err := bus.ConnectCopier(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return b, c
}

func put(t *testing.T, b *bus.Bus, key string, value []byte) {
	t.Helper()
	if _, err := b.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: topology.State.Subject(key), Data: value}); err != nil {
		t.Fatal(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// random returns n bytes that can't be compressed.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}

// A store that uploads in parts reads nothing while it uploads one. On a slow line that takes longer than the 5 s after which the
// broker ends a snapshot that is not acknowledged.
func TestSnapshotToASlowWriter(t *testing.T) {
	b, c := copierAt(t)
	for i := range 20 {
		put(t, b, fmt.Sprintf("link.7.vendor.%d", i), random(1<<20-1000, uint64(i)))
	}
	written := 0
	slow := writerFunc(func(p []byte) (int, error) {
		if written == 0 {
			time.Sleep(8 * time.Second)
		}
		written += len(p)
		return len(p), nil
	})
	if _, err := c.Snapshot(t.Context(), topology.State.Stream(), slow); err != nil || written < 19<<20 {
		t.Errorf("%d bytes, %v", written, err)
	}
}

func TestRestoredMessagesAreOlderThanTheirStream(t *testing.T) {
	b, c := copierAt(t)
	if err := b.PublishOnce(t.Context(), bus.For(bus.Outcome, "create_vendor", 7, 1), &tiebackv1.Outcome{}); err != nil {
		t.Fatal(err)
	}
	older := func(b *bus.Bus) bool {
		t.Helper()
		m, has, err1 := b.Last(t.Context(), bus.For(bus.Outcome, "create_vendor", 7, 1))
		created, err2 := b.Created(t.Context(), bus.Outcome)
		if err := errors.Join(err1, err2); err != nil || !has {
			t.Fatal(has, err)
		}
		return m.Stored.Before(created)
	}
	if older(b) {
		t.Error("a message is older than its stream")
	}
	var buf bytes.Buffer
	s, err := c.Snapshot(t.Context(), bus.Outcome.Stream(), &buf)
	if err != nil {
		t.Fatal(err)
	}
	b2, c2 := copierAt(t)
	if err := b2.JetStream().DeleteStream(t.Context(), bus.Outcome.Stream()); err != nil {
		t.Fatal(err)
	}
	if err := c2.Restore(t.Context(), s, 1, &buf); err != nil {
		t.Fatal(err)
	}
	if !older(b2) {
		t.Error("a restored message is not older than its stream")
	}
}

// A restore that is interrupted within a stream does not count as complete: Restore returns an error, and if the broker keeps a part
// of the stream, its last sequence is lower than the copy's.
func TestInterruptedRestoreOfAStream(t *testing.T) {
	b, c := copierAt(t)
	for i := range 10 {
		put(t, b, fmt.Sprintf("link.7.vendor.%d", i), random(1<<20-1000, uint64(i)))
	}
	var buf bytes.Buffer
	s, err := c.Snapshot(t.Context(), topology.State.Stream(), &buf)
	if err != nil {
		t.Fatal(err)
	}
	b2, c2 := copierAt(t)
	if err := b2.JetStream().DeleteStream(t.Context(), topology.State.Stream()); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(bytes.NewReader(buf.Bytes()[:buf.Len()/2]), iotest.ErrReader(errors.New("broken")))
	if err := c2.Restore(t.Context(), s, 1, broken); err == nil {
		t.Error("half a copy was restored")
	}
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(time.Second) { // the broker ends the restore after 5 s
		n, _, last, err := c2.State(t.Context(), topology.State.Stream())
		t.Logf("%d messages, last sequence %d: %v", n, last, err)
		if err == nil && last >= s.Last {
			t.Errorf("the last sequence is %d, as if the restore were complete", last)
		}
	}
}
