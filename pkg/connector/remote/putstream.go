package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	// maxStreamed is the size of the largest record that is sent on a stream, in bytes. A larger one would delay
	// those behind it.
	maxStreamed = 64 << 10
	// maxStreamAnswer is the maximum size of an answer on a stream, in bytes. A client has one for each connector at
	// once, besides those in the stream's window.
	maxStreamAnswer = 128 << 10
)

// streamAge is the time after which records go to a new stream, so that they reach a connector that was added or
// replaced, and no idle stream is kept alive by pings; see dial. The old stream ends after its last answer.
const streamAge = time.Minute

// drainMargin is how much longer than its last record may take, by its timeout, an old stream may take to end.
const drainMargin = 10 * time.Second

// streams has the streams of a client: the current one, and older ones until their last answer.
type streams struct {
	rpc     tiebackv1.ConnectorServiceClient
	age     time.Duration
	drain   time.Duration // how long an old stream may take to end: longer than the deadline of any record
	offered atomic.Bool   // the connector has PutStream, by its capabilities
	running sync.WaitGroup

	mu      sync.Mutex
	current *stream // nil: none
}

// errNotBegun is the end of a stream in good order, for a record without an answer: nothing happened.
var errNotBegun = status.Error(codes.Aborted, "the connector ended the stream before it began the record")

// put sends a record on the current stream, and once more if the connector ended that stream in good order. It returns
// errors as a call of Put does. If the connector has no streams, it makes that call.
func (c *streams) put(ctx context.Context, q *tiebackv1.PutRequest, opts ...grpc.CallOption) (*tiebackv1.PutResponse, error) {
	for attempt := 1; ; {
		s := c.stream()
		a, err := s.put(ctx, q)
		switch {
		case errors.Is(err, errRetired):
		case errors.Is(err, errNotBegun) && attempt == 1:
			sentOf(ctx).Store(false)
			attempt++
		case errors.Is(err, errUnimplemented):
			c.offered.Store(false)
			return c.rpc.Put(ctx, q, opts...)
		default:
			return a, err
		}
	}
}

// stream returns the current stream. It opens one if there is none.
func (c *streams) stream() *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return c.current
	}
	s := newStream()
	c.current = s
	c.running.Go(func() { c.run(s) })
	return s
}

// run opens a stream and sends its records until it ends.
func (c *streams) run(s *stream) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wire, err := c.rpc.PutStream(ctx, grpc.MaxCallRecvMsgSize(maxStreamAnswer))
	if err != nil {
		s.unsent = err
		s.end(err) // before retire: the records that wait for this stream fail
		c.retire(s)
		return
	}
	c.running.Go(func() {
		err := c.receive(s, wire)
		c.retire(s) // before end: the records that were not sent use another stream
		s.end(err)
	})
	age := time.NewTimer(c.age)
	defer age.Stop()
	s.send(wire, age.C)
	c.retire(s)
	_ = wire.CloseSend() // fails if the stream has ended
	select {
	case <-s.ended:
	case <-time.After(c.drain): // every record has got its answer or given up
	}
}

// retire makes the next record use another stream.
func (c *streams) retire(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == s {
		c.current = nil
		close(s.retired)
	}
}

// stream is one PutStream. Its goroutines are started by streams.run.
type stream struct {
	queue   chan *record  // records to send, unbuffered
	gone    chan struct{} // signals that canceled is not empty
	retired chan struct{} // closed when no record is taken from queue any more
	ended   chan struct{} // closed by end
	unsent  error         // what the end means for a record that was not sent: errRetired, or why the stream could not be opened

	mu       sync.Mutex
	last     uint64             // the id of the last record
	underWay map[uint64]*record // sent, and not answered
	canceled []uint64           // their callers have gone; not sent yet
	answered bool               // there was an answer
	stopped  bool               // the connector begins no further record
	err      error              // set by end: what the end means for a record without an answer
}

// record is a record and its answer.
type record struct {
	ctx  context.Context
	q    *tiebackv1.PutRequest
	sent *atomic.Bool // it may have reached the connector; see withSent
	done chan result  // buffered

	// Guarded by the mutex of stream.
	id   uint64 // 0: not sent
	gone bool   // the caller waits no longer
}

type result struct {
	a   *tiebackv1.PutResponse
	err error
}

var (
	// errRetired: the stream takes no further record, and this one was not sent.
	errRetired = errors.New("retired")
	// errUnimplemented: the connector has no PutStream. Nothing happened.
	errUnimplemented = errors.New("unimplemented")
)

func newStream() *stream {
	return &stream{
		queue: make(chan *record), gone: make(chan struct{}, 1), retired: make(chan struct{}), ended: make(chan struct{}),
		underWay: map[uint64]*record{}, unsent: errRetired,
	}
}

// put sends a record and waits for its answer, until ctx ends. ctx is of withSent.
func (s *stream) put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	r := &record{ctx: ctx, q: q, sent: sentOf(ctx), done: make(chan result, 1)}
	select {
	case s.queue <- r:
	case <-s.ended:
		return nil, s.unsent
	case <-s.retired:
		select {
		case <-s.ended:
			return nil, s.unsent
		default:
			return nil, errRetired
		}
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	select {
	case got := <-r.done:
		return got.a, got.err
	case <-ctx.Done():
		s.abandon(r)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// abandon gives a record up: it is not sent any more, or canceled at the connector.
func (s *stream) abandon(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.gone = true
	if s.underWay[r.id] != r {
		return
	}
	delete(s.underWay, r.id)
	s.canceled = append(s.canceled, r.id)
	select {
	case s.gone <- struct{}{}:
	default:
	}
}

type wire = grpc.BidiStreamingClient[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]

// send sends records and cancellations until the stream is too old, stopped or ended.
func (s *stream) send(w wire, old <-chan time.Time) {
	for {
		var ok bool
		select {
		case r := <-s.queue:
			ok = s.sendRecord(w, r)
		case <-s.gone:
			ok = s.sendCanceled(w)
		case <-old:
			return
		case <-s.retired:
			return
		}
		if !ok {
			return
		}
	}
}

// sendRecord returns false if the stream has ended.
func (s *stream) sendRecord(w wire, r *record) bool {
	id, ok := s.begin(r)
	if id == 0 {
		return ok
	}
	q := &tiebackv1.PutStreamRequest{Id: id, Put: r.q, Metadata: metadataOf(r.ctx)}
	if deadline, ok := r.ctx.Deadline(); ok {
		q.TimeoutMs = max(time.Until(deadline).Milliseconds(), 0) + 1 // rounded up: the caller's own deadline is first
	}
	// A message that can't be encoded must not end the stream, as it would in SendMsg.
	var encoded grpc.PreparedMsg
	if err := encoded.Encode(w, q); err != nil {
		r.sent.Store(false)
		s.deliver(id, result{err: err})
		return true
	}
	if err := w.SendMsg(&encoded); err != nil {
		r.sent.Store(false)
		return false // receive gets the reason
	}
	return true
}

// begin gives a record its id. It returns 0 for a record that is not to be sent, and false if the stream has ended.
func (s *stream) begin(r *record) (id uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil || s.stopped:
		r.done <- result{err: errRetired}
		return 0, false
	case r.gone:
		return 0, true
	}
	s.last++
	r.id = s.last
	s.underWay[r.id] = r
	r.sent.Store(true)
	return r.id, true
}

func (s *stream) sendCanceled(w wire) bool {
	s.mu.Lock()
	ids := s.canceled
	s.canceled = nil
	s.mu.Unlock()
	for _, id := range ids {
		if w.Send(&tiebackv1.PutStreamRequest{Id: id, Cancel: true}) != nil {
			return false
		}
	}
	return true
}

// metadataOf returns the metadata that a call with ctx would send.
func metadataOf(ctx context.Context) map[string]string {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for name, values := range md {
		out[name] = values[len(values)-1]
	}
	return out
}

// receive delivers the answers until the stream ends. It returns why it ended.
func (c *streams) receive(s *stream, w wire) error {
	for {
		a, err := w.Recv()
		if err != nil {
			return err
		}
		if last, stops := a.Result.(*tiebackv1.PutStreamResponse_LastId); stops {
			c.retire(s)
			s.stopAfter(last.LastId)
			continue
		}
		got := result{a: a.GetPut()}
		if e := a.GetError(); e != nil {
			got.err = statusFrom(e)
		}
		s.mu.Lock()
		s.answered = true
		s.mu.Unlock()
		s.deliver(a.Id, got)
	}
}

// RecordError returns the error of a record of a stream, with its class, for tests of connectors.
func RecordError(e *tiebackv1.PutError) error {
	c := &client{settings: &settings{address: "the stream"}}
	return c.classed(statusFrom(e), outcome{write: true, sent: true})
}

// statusFrom returns the status that a call of Put would have returned.
func statusFrom(e *tiebackv1.PutError) error {
	code := codes.Code(e.Code)
	if code == codes.OK {
		code = codes.Unknown
	}
	if e.Problem == nil {
		return status.Error(code, e.Message)
	}
	return problem(code, e.Message, e.Problem)
}

// deliver gives a record its answer. An unknown id is that of a caller that has gone.
func (s *stream) deliver(id uint64, got result) {
	s.mu.Lock()
	r := s.underWay[id]
	delete(s.underWay, id)
	s.mu.Unlock()
	if r != nil {
		r.done <- got
	}
}

// stopAfter returns the records with ids above last, which the connector does not begin, to their callers.
func (s *stream) stopAfter(last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for id, r := range s.underWay {
		if id > last {
			delete(s.underWay, id)
			r.done <- result{err: errNotBegun}
		}
	}
}

// end ends the stream for every record without an answer.
func (s *stream) end(err error) {
	s.mu.Lock()
	s.err = meaning(err, s.answered)
	all := s.underWay
	s.underWay = map[uint64]*record{}
	s.mu.Unlock()
	close(s.ended)
	for _, r := range all {
		r.done <- result{err: s.err}
	}
}

// meaning returns what the end of a stream means for a record without an answer; see PutStream in connector.proto.
func meaning(err error, answered bool) error {
	code := status.Code(err)
	switch {
	case errors.Is(err, io.EOF):
		return errNotBegun
	case code == codes.Unimplemented && !answered:
		return errUnimplemented
	case (code == codes.Unauthenticated || code == codes.PermissionDenied) && !answered:
		return err
	case classOf(code, true, outcome{write: true, sent: true}) == fault.Ambiguous:
		return err
	}
	return status.Errorf(codes.Unknown, "the stream ended with %s: %s", code, status.Convert(err).Message())
}

// take reports whether a record is sent on a stream.
func (c *streams) take(q *tiebackv1.PutRequest) bool {
	return c.offered.Load() && proto.Size(q) <= maxStreamed
}
