package bustest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
)

// A message that the key may not write is refused at once, though the broker does not reply. It is not given up.
func TestPublishWithoutPermission(t *testing.T) {
	const denied = "$KV.tieback-state.pauses"
	ns := bustest.Start(t, server.Options{NoAuthUser: "u", Users: []*server.User{{
		Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}},
	}}})
	b, err := bus.Connect(t.Context(), bustest.Options(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	start := time.Now()
	err = b.Bucket().Put(t.Context(), "pauses", []byte("[]"))
	if !errors.Is(err, nats.ErrPermissionViolation) || fault.ClassOf(err) != fault.Throttled || !strings.Contains(err.Error(), "provisioner keys") || time.Since(start) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	if err := b.Bucket().Put(t.Context(), "retries", []byte("[]")); err != nil {
		t.Errorf("a key that may be written: %v", err)
	}
}
