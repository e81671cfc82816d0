package bus

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// requests are the requests on a connection that wait for a reply which may never come: the broker does not reply to a publish
// that the key may not make, but sends an error of the connection, which names the subject; and the replies under way are lost
// with the connection. nats.go lets such a request wait until it times out. The zero value is ready to use. All methods may be
// called concurrently.
type requests struct {
	mu      sync.Mutex
	waiting map[*request]bool
}

// request is a request that waits for a reply.
type request struct {
	subjects []string // that it publishes to
	end      context.CancelCauseFunc
}

// await returns a context that ends before done is called if the reply can't come any more: with nats.ErrPermissionViolation as
// its cause if the broker denies a publish to one of subjects, and with nats.ErrDisconnected if the connection is lost.
func (r *requests) await(ctx context.Context, subjects ...string) (_ context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	q := &request{subjects, end}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[*request]bool{}
	}
	r.waiting[q] = true
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, q)
		end(nil)
	}
}

// answerContext is the function answerContext, but its context also ends if the connection is lost.
func (r *requests) answerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, done := r.await(ctx)
	ctx, cancel := answerContext(ctx)
	return ctx, func() { cancel(); done() }
}

// denied ends the publishes that an error of the connection denies.
func (r *requests) denied(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.waiting {
		if slices.ContainsFunc(q.subjects, func(s string) bool { return strings.Contains(err.Error(), strconv.Quote(s)) }) {
			q.end(err)
		}
	}
}

// disconnected ends all requests, because the connection is lost.
func (r *requests) disconnected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.waiting {
		q.end(nats.ErrDisconnected)
	}
}
