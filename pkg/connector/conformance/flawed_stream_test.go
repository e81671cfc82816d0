package conformance

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type (
	streamRequest  = tiebackv1.PutStreamRequest
	streamResponse = tiebackv1.PutStreamResponse
)

// flawedStream overrides the sides of a correct stream.
type flawedStream struct {
	PutStream
	send  func(*streamRequest) (*streamRequest, error) // nil request: not sent
	recv  func(func() (*streamResponse, error)) (*streamResponse, error)
	close func() error
}

func (f *flawedStream) Send(q *streamRequest) error {
	if f.send == nil {
		return f.PutStream.Send(q)
	}
	q, err := f.send(proto.CloneOf(q))
	if q == nil || err != nil {
		return err
	}
	return f.PutStream.Send(q)
}

func (f *flawedStream) Recv() (*streamResponse, error) {
	if f.recv == nil {
		return f.PutStream.Recv()
	}
	return f.recv(f.PutStream.Recv)
}

func (f *flawedStream) CloseSend() error {
	if f.close == nil {
		return f.PutStream.CloseSend()
	}
	return f.close()
}

// changingSent makes a flaw that changes what arrives at the connector.
func changingSent(change func(*streamRequest)) func(PutStream, *erp) PutStream {
	return func(w PutStream, _ *erp) PutStream {
		return &flawedStream{PutStream: w, send: func(q *streamRequest) (*streamRequest, error) {
			change(q)
			return q, nil
		}}
	}
}

// changingAnswers makes a flaw that changes the answers; nil: not sent.
func changingAnswers(change func(*streamResponse, error) (*streamResponse, error)) func(PutStream, *erp) PutStream {
	return func(w PutStream, _ *erp) PutStream {
		return &flawedStream{PutStream: w, recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
			for {
				if a, err := change(next()); a != nil || err != nil {
					return a, err
				}
			}
		}}
	}
}

// inOrder answers the records in the order in which they came.
func inOrder(w PutStream, _ *erp) PutStream {
	early, next := map[uint64]*streamResponse{}, uint64(1)
	return &flawedStream{PutStream: w, recv: func(recv func() (*streamResponse, error)) (*streamResponse, error) {
		for early[next] == nil {
			a, err := recv()
			if err != nil || a.Id == 0 {
				return a, err
			}
			early[a.Id] = a
		}
		next++
		return early[next-1], nil
	}}
}

// swapped gives two answers each other's ids.
func swapped(w PutStream, _ *erp) PutStream {
	var kept *streamResponse
	return &flawedStream{PutStream: w, recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
		if a := kept; a != nil {
			kept = nil
			return a, nil
		}
		a, err := next()
		if err != nil || a.Id != 3 {
			return a, err
		}
		b, err := next()
		if err != nil {
			return nil, err
		}
		a.Id, b.Id = b.Id, a.Id
		kept = b
		return a, nil
	}}
}

func answeredTwice(w PutStream, _ *erp) PutStream {
	var again *streamResponse
	return &flawedStream{PutStream: w, recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
		if a := again; a != nil {
			again = nil
			return a, nil
		}
		a, err := next()
		if err == nil && a.Id == 5 {
			again = a
		}
		return a, err
	}}
}

// keysOfAStream books a key once on each stream.
func keysOfAStream(w PutStream, e *erp) PutStream {
	n := count.Add(1)
	return &flawedStream{PutStream: w, send: func(q *streamRequest) (*streamRequest, error) {
		if q.Put != nil {
			q.Put.Key += fmt.Sprint("#", n)
		}
		return q, nil
	}}
}

// endedByARefusal ends the stream with the status of the first record that has one.
func endedByARefusal(w PutStream, _ *erp) PutStream {
	return changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if e := a.GetError(); e != nil {
			return nil, status.Error(codes.Code(e.Code), e.Message)
		}
		return a, err
	})(w, nil)
}

// dropping drops the records beyond 64 under way.
func dropping(w PutStream, _ *erp) PutStream {
	var mu sync.Mutex
	underWay := 0
	return &flawedStream{PutStream: w,
		send: func(q *streamRequest) (*streamRequest, error) {
			mu.Lock()
			defer mu.Unlock()
			if underWay == 64 {
				return nil, nil
			}
			underWay++
			return q, nil
		},
		recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
			a, err := next()
			mu.Lock()
			defer mu.Unlock()
			underWay--
			return a, err
		}}
}

// forgettingAtClose ends the stream when its caller closes it, without the answers to the records under way.
func forgettingAtClose(w PutStream, _ *erp) PutStream {
	closed := make(chan struct{})
	return &flawedStream{PutStream: w,
		close: func() error { close(closed); return w.CloseSend() },
		recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
			select {
			case <-closed:
				return nil, io.EOF
			default:
				return next()
			}
		}}
}

// endless does not notice that its caller closed the stream.
func endless(w PutStream, _ *erp) PutStream {
	return &flawedStream{PutStream: w, close: func() error { return nil }}
}

// withoutTheLast drops the last answers of a stream that ends in good order.
func withoutTheLast(w PutStream, _ *erp) PutStream {
	stops := false
	return &flawedStream{PutStream: w, recv: func(next func() (*streamResponse, error)) (*streamResponse, error) {
		for {
			a, err := next()
			if err != nil {
				return nil, err
			}
			if _, ok := a.Result.(*tiebackv1.PutStreamResponse_LastId); ok {
				stops = true
			}
			if !stops || a.Id == 0 {
				return a, nil
			}
		}
	}}
}

var streamFlaws = []flaw{
	{name: "answers the records of a stream in their order", stream: inOrder, caught: []string{"a slow record on a stream"}},
	{name: "names another record in an answer of a stream", stream: swapped, caught: []string{"many records on a stream"}},
	{name: "answers a record of a stream twice", stream: answeredTwice, caught: []string{"many records on a stream"}},
	{name: "keeps the keys of a stream with the stream", stream: keysOfAStream, caught: []string{"many records on a stream", "a stream that breaks"}},
	{name: "ends the stream when it refuses a record", stream: endedByARefusal, caught: []string{"a refusal on a stream"}},
	{name: "refuses on a stream without a field and a user message", stream: changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if e := a.GetError(); e != nil {
			e.Problem = nil
		}
		return a, err
	}), caught: []string{"a refusal on a stream"}},
	{name: "ignores the time limit of a record", stream: changingSent(func(q *streamRequest) { q.TimeoutMs = 0 }), caught: []string{"given up on a stream"}},
	{name: "ignores that a record is canceled", stream: func(w PutStream, _ *erp) PutStream {
		return &flawedStream{PutStream: w, send: func(q *streamRequest) (*streamRequest, error) {
			if q.Cancel {
				return nil, nil
			}
			return q, nil
		}}
	}, caught: []string{"given up on a stream"}},
	{name: "does not answer a record that was given up", stream: changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if e := a.GetError(); e != nil && e.Problem.GetField() == "" {
			return nil, nil
		}
		return a, err
	}), caught: []string{"given up on a stream"}},
	{name: "reports a record that was given up as refused", stream: changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if e := a.GetError(); e != nil {
			e.Code = int32(codes.FailedPrecondition)
		}
		return a, err
	}), caught: []string{"given up on a stream"}},
	{name: "drops records when it has many under way", stream: dropping, caught: []string{"more records than a stream takes"}},
	{name: "forgets the records under way when its caller closes the stream", stream: forgettingAtClose, caught: []string{"a stream that its caller closes"}},
	{name: "keeps a stream open that its caller closed", stream: endless, caught: []string{"a stream that its caller closes"}},
	{name: "breaks its streams off when it stops", stream: changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if errors.Is(err, io.EOF) {
			return nil, status.Error(codes.Unavailable, "shutting down")
		}
		return a, err
	}), caught: []string{"a connector that stops"}},
	{name: "ends its streams when it stops, and answers nothing that it began", stream: withoutTheLast, caught: []string{"a connector that stops"}},
	{name: "gives too low a last id when it stops", stream: changingAnswers(func(a *streamResponse, err error) (*streamResponse, error) {
		if x, ok := a.GetResult().(*tiebackv1.PutStreamResponse_LastId); ok {
			x.LastId = 0
		}
		return a, err
	}), caught: []string{"a connector that stops"}},
}
