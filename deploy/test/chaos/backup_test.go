package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/bustest"
)

// A message that is missing, or other data, changes the content of a stream.
func TestContentOfDiffers(t *testing.T) {
	read := func(data ...string) content {
		nc, err := nats.Connect(bustest.Start(t, server.Options{Port: -1}).ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		for _, d := range data {
			if _, err := js.Publish(t.Context(), "s", []byte(d)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := contentOf(t.Context(), js)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := read("a", "b")
	if err := read("a", "b").missing(want); err != nil {
		t.Errorf("the same: %v", err)
	}
	for _, other := range []content{read("a"), read("a", "c"), {}} {
		if err := other.missing(want); err == nil || !strings.Contains(err.Error(), "the stream S is") {
			t.Errorf("%v: %v", other, err)
		}
	}
}
