package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// maxUnderWay is the number of records of one stream that the drivers handle at once. The server reads no further
// record until one of them is answered.
const maxUnderWay = 256

// maxRecordTime is the longest time limit of a record; a longer one is shortened. The client's is 5 minutes at most.
const maxRecordTime = time.Hour

type putStream = grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]

// PutStream handles each record as a call of Put, in a goroutine of its own. It returns nil after the last answer if the
// caller closed its side or the server stops.
func (s *server) PutStream(stream putStream) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	r := &records{server: s, stream: stream, ctx: ctx, slots: make(chan struct{}, maxUnderWay), cancels: map[uint64]context.CancelFunc{}}
	read := make(chan error, 1)
	go func() { read <- r.read() }() // ends at the latest when PutStream has returned, which ends Recv
	select {
	case err := <-read:
		r.close()
		r.underWay.Wait()
		return err
	case <-s.stopping:
		r.send(&tiebackv1.PutStreamResponse{Result: &tiebackv1.PutStreamResponse_LastId{LastId: r.close()}})
		r.underWay.Wait()
		return nil
	}
}

// records are the records under way on one stream.
type records struct {
	*server
	stream   putStream
	ctx      context.Context
	slots    chan struct{} // one for each record under way
	underWay sync.WaitGroup
	sending  sync.Mutex // held during Send

	mu      sync.Mutex
	last    uint64 // the id of the last record that was begun
	closed  bool   // no further record is begun
	cancels map[uint64]context.CancelFunc
}

// close makes the stream begin no further record. It returns the id of the last one.
func (r *records) close() (last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.last
}

// read begins each record that arrives. It returns nil if the caller closed its side.
func (r *records) read() error {
	for {
		q, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case q.Cancel:
			r.cancel(q.Id)
			continue
		}
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			return status.FromContextError(r.ctx.Err()).Err()
		}
		if err := r.begin(q); err != nil {
			return err
		}
	}
}

func (r *records) cancel(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel := r.cancels[id]; cancel != nil {
		cancel()
	}
}

// begin starts to handle a record, unless the stream is closed.
func (r *records) begin(q *tiebackv1.PutStreamRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	if q.Id <= r.last {
		return status.Errorf(codes.InvalidArgument, "the id %d follows the id %d; ids must ascend", q.Id, r.last)
	}
	r.last = q.Id
	ctx, cancel := r.recordContext(q)
	r.cancels[q.Id] = cancel
	r.underWay.Go(func() { r.handle(ctx, q) })
	return nil
}

// recordContext returns the context that a call of Put with the record would have.
func (r *records) recordContext(q *tiebackv1.PutStreamRequest) (context.Context, context.CancelFunc) {
	ctx := r.ctx
	if len(q.Metadata) > 0 {
		md, _ := metadata.FromIncomingContext(ctx)
		ctx = metadata.NewIncomingContext(ctx, metadata.Join(md, metadata.New(q.Metadata)))
	}
	if ms := q.TimeoutMs; ms > 0 {
		return context.WithTimeout(ctx, time.Duration(min(ms, maxRecordTime.Milliseconds()))*time.Millisecond)
	}
	return context.WithCancel(ctx)
}

func (r *records) handle(ctx context.Context, q *tiebackv1.PutStreamRequest) {
	a := r.answer(ctx, q)
	r.mu.Lock()
	r.cancels[q.Id]()
	delete(r.cancels, q.Id)
	r.mu.Unlock()
	r.send(a)
	<-r.slots
}

// send sends a message, unless the stream has ended: then the caller finds the booking by its key.
func (r *records) send(a *tiebackv1.PutStreamResponse) {
	r.sending.Lock()
	defer r.sending.Unlock()
	_ = r.stream.Send(a)
}

func (r *records) answer(ctx context.Context, q *tiebackv1.PutStreamRequest) *tiebackv1.PutStreamResponse {
	if q.Put == nil {
		return answerError(q.Id, status.Error(codes.InvalidArgument, "the record has no put"))
	}
	a, err := r.put(ctx, q.Put)
	if err != nil {
		return answerError(q.Id, err)
	}
	out := &tiebackv1.PutStreamResponse{Id: q.Id, Result: &tiebackv1.PutStreamResponse_Put{Put: a.(*tiebackv1.PutResponse)}}
	if proto.Size(out) > maxStreamAnswer {
		long := fault.New(fault.Ambiguous, errors.New("the answer is too long for a stream; Find returns the booking"))
		return answerError(q.Id, statusOf(long, true))
	}
	return out
}

func answerError(id uint64, err error) *tiebackv1.PutStreamResponse {
	s := status.Convert(err)
	return &tiebackv1.PutStreamResponse{Id: id, Result: &tiebackv1.PutStreamResponse_Error{
		Error: &tiebackv1.PutError{Code: int32(s.Code()), Message: utf8(s.Message()), Problem: problemOf(s)},
	}}
}
