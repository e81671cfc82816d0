package index

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus/bustest"
)

// The second of two consoles waits until the first has closed the index, says so, and then has what the first has written.
func TestSecondConsoleWaits(t *testing.T) {
	b := bustest.Connect(t)
	path := filepath.Join(t.TempDir(), "index.db")
	first := open(t, path, options())
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- first.Run(ctx, b) }()

	core, logs := observer.New(zap.InfoLevel)
	waiting := make(chan error, 2)
	o := options()
	o.Log, o.Waiting = zap.New(core), func(why error) { waiting <- why }
	opened := make(chan *Index)
	go func() {
		x, err := Open(t.Context(), path, o)
		if err != nil {
			t.Error(err)
		}
		opened <- x
	}()
	select {
	case why := <-waiting:
		if !errors.Is(why, ErrInUse) {
			t.Errorf("it waits because %v", why)
		}
	case <-opened:
		t.Fatal("two have the file open")
	}
	written(t, b) // the first still follows the streams
	for began := time.Now(); first.Status().Behind > 0 || first.Status().Complete.Before(began); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the first does not follow: %+v", first.Status())
		}
	}
	select {
	case <-opened:
		t.Fatal("two have the file open")
	default:
	}
	stop()
	<-ended
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := <-opened
	defer second.Close() //nolint:errcheck // only read
	second.searchTime = time.Hour
	if why := <-waiting; why != nil {
		t.Errorf("it still waits: %v", why)
	}
	if logs.FilterMessage("waiting for the index").Len() != 1 || logs.FilterMessage("the other process has closed the index").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
	follow(t, second, b) // the first may not have read the last messages
	same(t, second, messagesOf(t, b), month)
}

// A console that is stopped while it waits ends with the reason, and leaves no lock.
func TestStoppedWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	first := open(t, path, options())
	ctx, stop := context.WithCancel(t.Context())
	o := options()
	o.Waiting = func(error) { stop() }
	if _, err := Open(ctx, path, o); !errors.Is(err, ErrInUse) || !errors.Is(err, context.Canceled) {
		t.Errorf("Open returned %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path, options())
}
