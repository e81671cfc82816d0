package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// PutStream is an open stream of a connector; see PutStream in connector.proto. Send and Recv may be called concurrently
// with each other.
type PutStream interface {
	Send(*tiebackv1.PutStreamRequest) error
	Recv() (*tiebackv1.PutStreamResponse, error)
	CloseSend() error
}

// answerTime is how long the next answer of a stream may take.
const answerTime = 10 * time.Second

// streaming is a stream with the records that were sent on it.
type streaming struct {
	PutStream
	end      context.CancelFunc // breaks the stream
	limit    int                // how many records may be under way
	sent     []*attempt         // in the order of their ids, which start at 1
	order    []uint64           // the ids in the order of their answers
	answered map[uint64]bool
	lastID   *uint64 // as the connector gave it
}

// stream opens a stream. It ends with ctx at the latest.
func (s *suite) stream(ctx context.Context) *streaming {
	check(s.streams())
	ctx, end := context.WithCancel(ctx)
	w, err := s.target.Stream(ctx)
	if err != nil {
		end()
		panic(failure{fmt.Errorf("the stream can't be opened: %w", err)})
	}
	limit := int(s.caps.MaxConcurrent)
	if limit == 0 {
		limit = 1 << 10
	}
	return &streaming{PutStream: w, end: end, limit: limit, answered: map[uint64]bool{}}
}

// streams returns why no stream can be opened, or nil.
func (s *suite) streams() error {
	switch {
	case !s.caps.PutStream:
		return leaveOut("the connector does not offer PutStream")
	case s.target.Stream == nil:
		return leaveOut("the target can't open a PutStream")
	}
	return nil
}

// send sends a record. It first receives answers if the connector's limit of concurrent calls is reached.
func (t *streaming) send(q *tiebackv1.PutRequest, timeout time.Duration, md map[string]string) error {
	for len(t.sent)-len(t.answered) >= t.limit {
		if err := t.receive(); err != nil {
			return err
		}
	}
	t.sent = append(t.sent, &attempt{q: q})
	err := t.Send(&tiebackv1.PutStreamRequest{Id: uint64(len(t.sent)), Put: clone(q), TimeoutMs: timeout.Milliseconds(), Metadata: md})
	return describe("the stream ended while records were sent", err)
}

// cancel cancels the last record that was sent.
func (t *streaming) cancel() error {
	return t.Send(&tiebackv1.PutStreamRequest{Id: uint64(len(t.sent)), Cancel: true})
}

func (t *streaming) sendAll(all []*tiebackv1.PutRequest) error {
	for _, q := range all {
		if err := t.send(q, time.Minute, nil); err != nil {
			return err
		}
	}
	return nil
}

// receive receives an answer. Its error is io.EOF if the connector ended the stream with OK.
func (t *streaming) receive() error {
	type received struct {
		a   *tiebackv1.PutStreamResponse
		err error
	}
	next := make(chan received, 1)
	go func() {
		a, err := t.Recv()
		next <- received{a, err}
	}()
	select {
	case got := <-next:
		if got.err != nil {
			return got.err
		}
		return t.take(got.a)
	case <-time.After(answerTime):
		t.end()
		return fmt.Errorf("%d of %d records were answered, and there was no other answer for %v", len(t.answered), len(t.sent), answerTime)
	}
}

func (t *streaming) take(a *tiebackv1.PutStreamResponse) error {
	if x, stops := a.Result.(*tiebackv1.PutStreamResponse_LastId); stops {
		t.lastID = &x.LastId
		return nil
	}
	switch {
	case a.Id == 0 || a.Id > uint64(len(t.sent)):
		return fmt.Errorf("an answer names the record %d, and %d were sent", a.Id, len(t.sent))
	case t.answered[a.Id]:
		return fmt.Errorf("the record %d was answered twice", a.Id)
	case t.lastID != nil && a.Id > *t.lastID:
		return fmt.Errorf("the record %d was answered after last_id was %d: it was begun", a.Id, *t.lastID)
	}
	t.answered[a.Id] = true
	t.order = append(t.order, a.Id)
	to := t.sent[a.Id-1]
	if e := a.GetError(); e != nil {
		to.err = remote.RecordError(e)
	} else if to.b = a.GetPut().GetBooking(); to.b == nil {
		return fmt.Errorf("the answer to the record %d has neither a booking nor an error", a.Id)
	}
	return nil
}

// receiveAll receives the answers to all records.
func (t *streaming) receiveAll() error {
	for len(t.answered) < len(t.sent) {
		if err := t.receive(); err != nil {
			return fmt.Errorf("the stream ended, and %d of %d records were answered: %w", len(t.answered), len(t.sent), err)
		}
	}
	return nil
}

// attempts returns the records with their answers. One without an answer is ambiguous.
func (t *streaming) attempts() []attempt {
	var all []attempt
	for i, a := range t.sent {
		if !t.answered[uint64(i+1)] {
			a.err = fault.New(fault.Ambiguous, errors.New("the stream ended"))
		}
		all = append(all, *a)
	}
	return all
}

// bookings returns the bookings of all records, which must be booked.
func (t *streaming) bookings() ([]*tiebackv1.Booking, error) {
	var all []*tiebackv1.Booking
	for _, a := range t.sent {
		switch {
		case a.err != nil:
			return nil, fmt.Errorf("%s: %s: %w", connector.Describe(a.q.Record), classOf(a.err), a.err)
		case a.b.OriginId == "" || len(a.b.LineOriginIds) != len(a.q.Record.Lines):
			return nil, fmt.Errorf("%s was answered with the booking {%v}", connector.Describe(a.q.Record), a.b)
		case a.b.Stamp != a.q.Stamp:
			return nil, fmt.Errorf("%s was booked with the stamp %q, but the answer has the stamp %q", connector.Describe(a.q.Record), a.q.Stamp, a.b.Stamp)
		}
		all = append(all, a.b)
	}
	return all, nil
}

// exchange sends records on a new stream and returns their bookings.
func (s *suite) exchange(ctx context.Context, all []*tiebackv1.PutRequest) ([]*tiebackv1.Booking, error) {
	t := s.stream(ctx)
	defer t.end()
	if err := t.sendAll(all); err != nil {
		return nil, err
	}
	if err := t.receiveAll(); err != nil {
		return nil, err
	}
	return t.bookings()
}

// manyOnAStream books 40 records on a stream, and repeats their keys on another one and with calls.
func manyOnAStream(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	all := s.many(ctx, e, 40)
	got, err := s.exchange(ctx, all)
	if err != nil {
		return err
	}
	again, err := s.exchange(ctx, all)
	if err != nil {
		return fmt.Errorf("the same keys on another stream: %w", err)
	}
	for i, q := range all {
		if err := same("the same key on another stream", again[i], got[i]); err != nil {
			return err
		}
		if i%8 != 0 {
			continue
		}
		called := s.put(ctx, s.main, q)
		if err := errors.Join(same("a call of Put with the same key", called, got[i]), s.checkFound(ctx, q, got[i])); err != nil {
			return err
		}
	}
	return s.checkEachOnce(ctx, from, all, got)
}

// refusalOnAStream has one record refused among others.
func refusalOnAStream(ctx context.Context, s *suite) error {
	t := s.stream(ctx)
	defer t.end()
	bad, field := s.refusable(ctx)
	all := s.many(ctx, s.pickPut(), 11)
	if err := errors.Join(t.sendAll(all[:5]), t.send(bad, time.Minute, nil), t.sendAll(all[5:10])); err != nil {
		return err
	}
	if err := t.receiveAll(); err != nil {
		return fmt.Errorf("one record was to be refused: %w", err)
	}
	if err := t.sendAll(all[10:]); err != nil {
		return fmt.Errorf("after a record was refused: %w", err)
	}
	if err := t.receiveAll(); err != nil {
		return fmt.Errorf("after a record was refused: %w", err)
	}
	refusedOne := t.sent[5]
	t.sent = append(t.sent[:5:5], t.sent[6:]...)
	_, err := t.bookings()
	return errors.Join(err, refused(refusedOne.err, field), s.checkNotBooked(ctx, bad))
}

// refusable returns a put that the connector must refuse, with the field of the refusal: a record of an unknown vendor
// or, if nothing has a vendor, of an unknown entity.
func (s *suite) refusable(ctx context.Context) (*tiebackv1.PutRequest, string) {
	for _, e := range s.with(puts, []Entity{directCost, commitment}) {
		q := s.newPut(ctx, e)
		q.Record.VendorOriginId = "unknown-" + s.target.Unique
		return q, "vendor"
	}
	return s.putOf(&Record{Entity: later, ProcoreId: s.id(), Name: "unknown"}), ""
}

// slow returns the metadata of a record that the ERP takes long for.
func (s *suite) slow(ctx context.Context) (map[string]string, error) {
	if s.target.Rehearse == nil {
		return nil, leaveOut("the connector does not simulate faults of its ERP (%s)", rehearsal.Slow)
	}
	ctx, err := s.target.Rehearse(ctx, rehearsal.Slow)
	if err != nil {
		return nil, describe(fmt.Sprintf("the target can't simulate the fault %q", rehearsal.Slow), err)
	}
	out := map[string]string{}
	md, _ := metadata.FromOutgoingContext(ctx)
	for name, values := range md {
		out[name] = values[0]
	}
	return out, nil
}

// slowOnAStream has a record that the ERP takes long for before others.
func slowOnAStream(ctx context.Context, s *suite) error {
	t := s.stream(ctx)
	defer t.end()
	md, err := s.slow(ctx)
	if err != nil {
		return err
	}
	if t.limit == 1 {
		return leaveOut("the connector takes one call at a time")
	}
	all := s.many(ctx, s.pickPut(), 11)
	start := time.Now()
	if err := errors.Join(t.send(all[0], time.Minute, md), t.sendAll(all[1:]), t.receiveAll()); err != nil {
		return err
	}
	if took := time.Since(start); took < rehearsal.Delay {
		return leaveOut("the connector does not simulate a slow ERP: the record that was to take %v took %v", rehearsal.Delay, took.Round(time.Millisecond))
	}
	if _, err := t.bookings(); err != nil {
		return err
	}
	if last := t.order[len(t.order)-1]; last != 1 {
		return fmt.Errorf("the answer to a slow record delayed others: the order of the answers is %v", t.order)
	}
	return nil
}

// givenUpOnAStream has records whose callers give up, by their time limit or by canceling them.
func givenUpOnAStream(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	t := s.stream(ctx)
	defer t.end()
	md, err := s.slow(ctx)
	if err != nil && !isLeftOut(err) {
		return err
	}
	all := s.many(ctx, e, 21)
	for i, q := range all[:20] {
		timeout, more := time.Minute, map[string]string(nil)
		if i%2 == 0 {
			timeout = time.Duration(i+1) * time.Millisecond
		}
		if i >= 16 {
			more = md
		}
		if err := t.send(q, timeout, more); err != nil {
			return err
		}
		if i%2 == 0 {
			continue
		}
		if err := t.cancel(); err != nil {
			return fmt.Errorf("after a record was canceled: %w", err)
		}
	}
	start := time.Now()
	if err := t.receiveAll(); err != nil {
		return err
	}
	if late := time.Since(start); late > promptly {
		return fmt.Errorf("every caller had given up, but the last answer came after %v", late.Round(time.Millisecond))
	}
	if err := errors.Join(t.sendAll(all[20:]), t.receiveAll()); err != nil {
		return fmt.Errorf("after callers gave up: %w", err)
	}
	if last := t.sent[20]; last.err != nil {
		return fmt.Errorf("the record after those whose callers gave up: %w", last.err)
	}
	return s.settle(ctx, from, t.attempts())
}

// brokenStream breaks a stream with records under way.
func brokenStream(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	var tried []attempt
	for round := range 3 {
		t := s.stream(ctx)
		err := t.sendAll(s.many(ctx, e, 20))
		for range round * 7 {
			if err == nil {
				err = t.receive()
			}
		}
		t.end()
		if err != nil {
			return err
		}
		tried = append(tried, t.attempts()...)
	}
	return s.settle(ctx, from, tried)
}

// closedStream closes the caller's side of a stream with records under way.
func closedStream(ctx context.Context, s *suite) error {
	e := s.pickPut()
	from := s.cursor(ctx, e)
	t := s.stream(ctx)
	defer t.end()
	all := s.many(ctx, e, 20)
	if err := errors.Join(t.sendAll(all), t.CloseSend()); err != nil {
		return err
	}
	if err := t.receiveAll(); err != nil {
		return fmt.Errorf("the caller closed its side: %w", err)
	}
	if err := t.receive(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the caller closed its side and has all answers, but the stream did not end with OK: %w", err)
	}
	got, err := t.bookings()
	if err != nil {
		return err
	}
	return s.checkEachOnce(ctx, from, all, got)
}

// fullStream sends 300 records before it reads an answer.
func fullStream(ctx context.Context, s *suite) error {
	if n := s.caps.MaxConcurrent; n > 0 {
		return leaveOut("the connector declares the number of calls that it takes at once, %d", n)
	}
	e := s.pickPut()
	from := s.cursor(ctx, e)
	t := s.stream(ctx)
	defer t.end()
	all := s.many(ctx, e, 300)
	sent := make(chan error, 1)
	go func() { sent <- t.sendAll(all) }() // may wait until answers are read
	pause(ctx, 300*time.Millisecond)
	reader := &streaming{PutStream: t, end: t.end, answered: map[uint64]bool{}}
	for _, q := range all {
		reader.sent = append(reader.sent, &attempt{q: q})
	}
	if err := reader.receiveAll(); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	got, err := reader.bookings()
	if err != nil {
		return err
	}
	return s.checkEachOnce(ctx, from, all, got)
}

// stoppedStream stops the connector with records under way.
func stoppedStream(ctx context.Context, s *suite) error {
	check(s.streams())
	if s.target.Stop == nil {
		return leaveOut("the target has no way to stop the connector in good order")
	}
	e := s.pickPut()
	from := s.cursor(ctx, e)
	t := s.stream(ctx)
	defer t.end()
	err := t.sendAll(s.many(ctx, e, 40))
	if md, notSlow := s.slow(ctx); notSlow == nil && t.limit > 2 { // these are under way for certain
		err = errors.Join(err, t.send(s.newPut(ctx, e), time.Minute, md), t.send(s.newPut(ctx, e), time.Minute, md))
	}
	for range 20 {
		if err == nil {
			err = t.receive()
		}
	}
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.target.Stop(ctx) }()
	var ended error
	for ended == nil {
		ended = t.receive()
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("the target can't stop the connector: %w", err)
	}
	if !errors.Is(ended, io.EOF) {
		return fmt.Errorf("the connector was stopped, and did not end the stream with OK: %w", ended)
	}
	if err := s.reopen(ctx, time.Minute); err != nil {
		return fmt.Errorf("the connector was stopped and started, and does not answer: %w", err)
	}
	for i, a := range t.sent {
		if t.answered[uint64(i+1)] {
			continue
		}
		if err := s.checkNotBooked(ctx, a.q); err != nil {
			return fmt.Errorf("the stream ended with OK before the record %d was answered: %w", i+1, err)
		}
	}
	return s.settle(ctx, from, t.attempts())
}
