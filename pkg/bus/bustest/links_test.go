package bustest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/state"
)

// The link of a record that was unlinked orders requests, and expires. That of a linked record, or of one that is linked again, does
// not expire.
func TestRemovedLinkExpires(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	st, ctx := state.Of(b), t.Context()
	ttl := func(item string) string {
		t.Helper()
		s, err := b.JetStream().Stream(ctx, topology.State.Stream())
		must(t, err)
		m, err := s.GetLastMsgForSubject(ctx, topology.State.Subject("link.7.vendor."+item))
		must(t, err)
		return m.Header.Get(jetstream.MsgTTLHeader)
	}
	must(t, st.SaveLink(ctx, 7, "vendor", 35, state.Link{OriginID: "A", Order: by(5)}))
	before, err := st.Link(ctx, 7, "vendor", 35)
	must(t, err)
	must(t, st.SaveLink(ctx, 7, "vendor", 35, before.Update("", by(9)))) // in one write, as the link was read
	must(t, st.SaveLink(ctx, 7, "vendor", 36, state.Link{Order: by(9)}))
	for _, item := range []string{"35", "36"} {
		if got, want := ttl(item), state.RemovedFor.String(); got != want {
			t.Errorf("the link of %s, which was unlinked, has the TTL %q, want %q", item, got, want)
		}
	}
	must(t, st.SaveLink(ctx, 7, "vendor", 35, state.Link{OriginID: "A", Order: by(7)}))
	if l, err := st.Link(ctx, 7, "vendor", 35); err != nil || l.OriginID != "" || l.Order != by(9) {
		t.Errorf("after the late outcome of an older export: %+v, %v", l, err)
	}
	must(t, st.SaveLink(ctx, 7, "vendor", 35, state.Link{OriginID: "B", Order: by(10)}))
	if got := ttl("35"); got != "" {
		t.Errorf("the record is linked again, and its link has the TTL %q", got)
	}
}

// A key that has expired leaves the bucket, and can be written as if it had never existed.
func TestExpiredKeyLeavesTheBucket(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	key, ctx := "link.7.vendor.35", t.Context()
	must(t, b.Bucket().ReplaceTTL(ctx, key, []byte("x"), 0, time.Second))
	s, err := b.JetStream().Stream(ctx, topology.State.Stream())
	must(t, err)
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		info, err := s.Info(ctx)
		must(t, err)
		if info.State.Msgs == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the bucket has %d messages", info.State.Msgs)
		}
	}
	must(t, b.Bucket().Replace(ctx, key, []byte("y"), 0))
	if found := lost(t, b); len(found) > 0 {
		t.Errorf("losses %v", found)
	}
}
