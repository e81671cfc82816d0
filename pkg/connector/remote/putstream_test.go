package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// streaming opens the driver as opened does, and lets it know that the connector has streams.
func streaming(t testing.TB, address string, more map[string]string) *client {
	t.Helper()
	d := opened(t, address, more).(*client)
	if _, err := d.Capabilities(t.Context(), &tiebackv1.CapabilitiesRequest{CompanyId: 1}); err != nil {
		t.Fatal(err)
	}
	return d
}

func putKey(ctx context.Context, d connector.Driver, key string) error {
	a, err := d.Put(ctx, &tiebackv1.PutRequest{CompanyId: 1, Key: key, Record: &tiebackv1.Record{Name: "Acme"}})
	if err == nil && a.GetBooking().GetOriginId() != key {
		return fmt.Errorf("the answer to %q is that to %q", key, a.GetBooking().GetOriginId())
	}
	return err
}

func booked(key string) *tiebackv1.PutResponse {
	return &tiebackv1.PutResponse{Booking: &tiebackv1.Booking{OriginId: key}}
}

// open returns the current stream, or nil.
func (c *streams) open() *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// The error of a record on a stream is that of a call.
func TestStreamedErrorsEqualThoseOfCalls(t *testing.T) {
	for name, want := range map[string]error{
		"permanent":           fault.Refused("code", "The job code is taken."),
		"permanent, no words": fault.New(fault.Permanent, errors.New("no such table")),
		"transient":           fault.New(fault.Transient, errors.New("disk is full")),
		"throttled":           fault.Wait(7*time.Second, errors.New("busy")),
		"ambiguous":           fault.New(fault.Ambiguous, errors.New("commit failed")),
		"of no class":         errors.New("a bug"),
		"not UTF-8":           fault.Refused("na\xffme", "the name \xff"),
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := served(t, driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) { return nil, want }}, ServerConfig{})
			d := streaming(t, address, nil)
			called, streamed := put(t.Context(), opened(t, address, nil)), put(t.Context(), d)
			if d.streams.open() == nil {
				t.Error("no stream was used")
			}
			if called == nil || streamed == nil || called.Error() != streamed.Error() {
				t.Fatalf("a call returns %v, a stream %v", called, streamed)
			}
			if fault.ClassOf(called) != fault.ClassOf(streamed) || fault.Field(called) != fault.Field(streamed) ||
				fault.UserMessage(called, "") != fault.UserMessage(streamed, "") || fault.RetryAfter(called) != fault.RetryAfter(streamed) {
				t.Errorf("a call returns %+v, a stream %+v", called, streamed)
			}
		})
	}
}

// Many records are under way on one stream. The first is answered last, and one that is refused ends no other.
func TestAnswersComeInAnyOrder(t *testing.T) {
	const n = 100
	others := make(chan struct{}, n)
	address, _ := served(t, driver{put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		switch q.Key {
		case "first":
			for range n {
				select {
				case <-others:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		case "7":
			others <- struct{}{}
			return nil, fault.Refused("name", "No.")
		default:
			others <- struct{}{}
		}
		return booked(q.Key), nil
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	var all sync.WaitGroup
	all.Go(func() {
		if err := putKey(t.Context(), d, "first"); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		all.Go(func() {
			err := putKey(t.Context(), d, fmt.Sprint(i))
			if i == 7 {
				expect(t, err, fault.Permanent, "No.")
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s := d.streams.open(); s == nil || s.last != n+1 {
		t.Errorf("not all records were on one stream: %+v", s)
	}
}

// The deadline and the cancellation of a record reach the driver and end no other record.
func TestDeadlineAndCancellationOfOneRecord(t *testing.T) {
	started, over := make(chan string, 9), make(chan error, 9)
	release := make(chan struct{})
	address, _ := served(t, driver{put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		started <- q.Key
		if q.Key == "stays" {
			<-release
			return booked(q.Key), nil
		}
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 30*time.Second {
			t.Errorf("%s: the deadline is %v", q.Key, deadline)
		}
		<-ctx.Done()
		over <- ctx.Err()
		<-release // the callers don't depend on the answer
		return nil, ctx.Err()
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	stays := make(chan error, 1)
	go func() { stays <- putKey(t.Context(), d, "stays") }()
	<-started
	s := d.streams.open()

	timed, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := putKey(timed, d, "timed")
	expect(t, err, fault.Ambiguous, address)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	<-started
	<-over // by its own deadline, or canceled

	canceled, cancel2 := context.WithCancel(t.Context())
	go func() { <-started; cancel2() }()
	err = putKey(canceled, d, "canceled")
	expect(t, err, fault.Ambiguous, address)
	if !fault.Stopped(canceled, err) {
		t.Errorf("not reported as stopped: %v", err)
	}
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("the driver's context ended with %v", err)
	}

	close(release)
	if err := <-stays; err != nil {
		t.Error(err)
	}
	if d.streams.open() != s {
		t.Error("the stream ended")
	}
}

// A record whose caller gave up before it was sent did not happen.
func TestUnsentRecordIsTransient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts no connection
	d := opened(t, l.Addr().String(), nil).(*client)
	d.streams.offered.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	expect(t, put(ctx, d), fault.Transient, "deadline exceeded")

	l.Close()
	d = opened(t, l.Addr().String(), nil).(*client)
	d.streams.offered.Store(true)
	expect(t, put(t.Context(), d), fault.Transient, "connection refused")
}

// The records under way on a stream that breaks may have been booked. The next record uses another stream.
func TestBrokenStreamIsAmbiguous(t *testing.T) {
	const n = 20
	var started sync.WaitGroup
	started.Add(n)
	address, stop := served(t, driver{put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		if q.Key == "after" {
			return booked(q.Key), nil
		}
		started.Done()
		<-ctx.Done()
		return nil, ctx.Err()
	}}, ServerConfig{})
	cut := &breaker{}
	d := streaming(t, cut.before(t, address), nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { expect(t, putKey(t.Context(), d, fmt.Sprint(i)), fault.Ambiguous, "Unavailable") })
	}
	started.Wait()
	cut.now()
	all.Wait()
	if err := putKey(t.Context(), d, "after"); err != nil {
		t.Error(err)
	}
	stop()
	expect(t, put(t.Context(), d), fault.Transient, "Unavailable")
}

// breaker is a proxy whose connections can be cut.
type breaker struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (b *breaker) now() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

func (b *breaker) before(t *testing.T, address string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); b.now(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			b.mu.Lock()
			b.conns = append(b.conns, in, out)
			b.mu.Unlock()
			all.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			all.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	return l.Addr().String()
}

// A connector is replaced under load, several times: every record is answered, and none was begun twice.
func TestReplacedConnectorLosesNoRecord(t *testing.T) {
	var mu sync.Mutex
	puts := map[string]int{}
	d := driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		puts[q.Key]++
		return booked(q.Key), nil
	}}
	address, stop := served(t, d, ServerConfig{})
	c := streaming(t, address, nil)
	var done atomic.Bool
	var sent atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for !done.Load() {
				key := fmt.Sprint(sent.Add(1))
				for {
					err := putKey(t.Context(), c, key)
					if err == nil {
						break
					}
					if fault.ClassOf(err) != fault.Transient { // no listener for a moment
						t.Errorf("%v: %v", fault.ClassOf(err), err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	more := func() { // waits for more records
		for want := sent.Load() + 20; sent.Load() < want && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	for range 5 {
		more()
		stop()
		stop = serveAgain(t, address, d)
	}
	more()
	done.Store(true)
	all.Wait()
	for key, n := range puts {
		if n != 1 {
			t.Errorf("%s was begun %d times", key, n)
		}
	}
	if int64(len(puts)) != sent.Load() {
		t.Errorf("%d of %d records were booked", len(puts), sent.Load())
	}
}

// serveAgain serves at the address of a connector that was stopped.
func serveAgain(t *testing.T, address string, d connector.Driver) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, ServerConfig{Listener: l, Resolve: func(context.Context, int64) (connector.Driver, error) { return d, nil }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A stop waits for the records that were read, however many, and begins no other.
func TestStopAnswersTheRecordsUnderWay(t *testing.T) {
	const n = 50
	var started sync.WaitGroup
	started.Add(n)
	release := make(chan struct{})
	address, stop := served(t, driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		started.Done()
		<-release
		return booked(q.Key), nil
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := putKey(t.Context(), d, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for { // the listener closes
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	late := putKey(t.Context(), d, "late") // a second one would make started negative
	if fault.ClassOf(late) != fault.Transient {
		t.Errorf("a record after the stop: %v, %v", fault.ClassOf(late), late)
	}
	close(release)
	all.Wait()
	<-stopped
}

// foreign is a connector that uses none of our server.
type foreign struct {
	tiebackv1.UnimplementedConnectorServiceServer
	announces    bool
	puts, opened atomic.Int64
	stream       func(grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]) error // nil: not implemented
}

func (f *foreign) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{PutStream: f.announces}, nil
}

func (f *foreign) Put(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	f.puts.Add(1)
	return booked(q.Key), nil
}

func (f *foreign) PutStream(s grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]) error {
	f.opened.Add(1)
	if f.stream == nil {
		return f.UnimplementedConnectorServiceServer.PutStream(s)
	}
	return f.stream(s)
}

func (f *foreign) serve(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	tiebackv1.RegisterConnectorServiceServer(s, f)
	t.Cleanup(s.Stop)
	go func() { _ = s.Serve(l) }()
	return l.Addr().String()
}

// A connector without streams is called, also one that announces what it has not, for which one attempt is enough.
func TestConnectorWithoutStreamsIsCalled(t *testing.T) {
	for _, announces := range []bool{false, true} {
		f := &foreign{announces: announces}
		d := streaming(t, f.serve(t), nil)
		for i := range 10 {
			if err := putKey(t.Context(), d, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		}
		if want := map[bool]int64{true: 1}[announces]; f.puts.Load() != 10 || f.opened.Load() != want {
			t.Errorf("announces %v: %d calls, %d streams, want 10 and %d", announces, f.puts.Load(), f.opened.Load(), want)
		}
	}
}

// The status of a stream is not that of its records: whatever it is, a record that was sent may have been booked.
func TestEndOfAStreamIsAmbiguous(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		for _, answers := range []bool{false, true} {
			f := &foreign{announces: true, stream: func(s grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]) error {
				q, err := s.Recv()
				if err == nil && answers {
					err = s.Send(&tiebackv1.PutStreamResponse{Id: q.Id, Result: &tiebackv1.PutStreamResponse_Put{Put: booked(q.Put.Key)}})
				}
				if err == nil && answers {
					_, err = s.Recv()
				}
				if err != nil {
					return err
				}
				return status.Error(code, "over")
			}}
			d := streaming(t, f.serve(t), nil)
			if err := putKey(t.Context(), d, "answered"); answers && err != nil {
				t.Errorf("%s: %v", code, err)
			} else if !answers {
				switch code {
				case codes.Unimplemented: // called instead
					if err != nil {
						t.Error(err)
					}
				case codes.Unauthenticated, codes.PermissionDenied:
					expect(t, err, fault.Transient, "over")
				default:
					expect(t, err, fault.Ambiguous, "over")
				}
				continue
			}
			expect(t, putKey(t.Context(), d, "not answered"), fault.Ambiguous, "over")
		}
	}
}

// A connector that ends streams in good order before it begins a record is asked twice.
func TestRecordsThatWereNotBegunAreSentAgain(t *testing.T) {
	f := &foreign{announces: true}
	f.stream = func(s grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]) error {
		q, err := s.Recv()
		if err != nil || f.opened.Load() != 2 {
			return err
		}
		return s.Send(&tiebackv1.PutStreamResponse{Id: q.Id, Result: &tiebackv1.PutStreamResponse_Put{Put: booked(q.Put.Key)}})
	}
	d := streaming(t, f.serve(t), nil)
	if err := putKey(t.Context(), d, "k"); err != nil || f.opened.Load() != 2 {
		t.Errorf("%v, %d streams", err, f.opened.Load())
	}
	expect(t, putKey(t.Context(), d, "k"), fault.Transient, "before it began the record")
}

// The driver has a bounded number of records under way. The others wait, and their deadlines hold.
func TestRecordsUnderWayAreBounded(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	full := make(chan struct{})
	fill := sync.OnceFunc(func() { close(full) })
	address, _ := served(t, driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == maxUnderWay {
			fill()
		}
		<-release
		return booked(q.Key), nil
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	var all sync.WaitGroup
	for i := range 2 * maxUnderWay {
		all.Go(func() {
			if err := putKey(t.Context(), d, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	<-full
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := putKey(ctx, d, "waits"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(release)
	all.Wait()
	if most.Load() > maxUnderWay {
		t.Errorf("%d records were under way", most.Load())
	}
}

// Records move to another stream after a time. None is lost or delayed by this, and the old streams end.
func TestStreamsAreRenewed(t *testing.T) {
	address, _ := served(t, driver{}, ServerConfig{})
	d := streaming(t, address, nil)
	d.streams.age = 5 * time.Millisecond
	var mu sync.Mutex
	used := map[*stream]bool{}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 200 {
				if err := putKey(t.Context(), d, fmt.Sprintf("%d/%d", w, i)); err != nil {
					t.Error(err)
				}
				if s := d.streams.open(); s != nil {
					mu.Lock()
					used[s] = true
					mu.Unlock()
				}
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	all.Wait()
	if len(used) < 3 {
		t.Errorf("%d streams were used", len(used))
	}
	for s := range used {
		select {
		case <-s.ended:
		case <-time.After(5 * time.Second):
			t.Fatal("an old stream has not ended")
		}
	}
}

// A record that can't be encoded, or is too large for a stream, or whose answer is, disturbs no other.
func TestUnusualRecordsDisturbNoOther(t *testing.T) {
	address, _ := served(t, driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		if q.Key == "long" {
			return booked(strings.Repeat("x", maxStreamAnswer)), nil
		}
		return booked(q.Key), nil
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	if err := putKey(t.Context(), d, "before"); err != nil {
		t.Fatal(err)
	}
	s := d.streams.open()
	_, err := d.Put(t.Context(), &tiebackv1.PutRequest{Key: "k", Record: &tiebackv1.Record{Name: "\xff"}})
	expect(t, err, fault.Permanent, "UTF-8")
	if _, err := d.Put(t.Context(), &tiebackv1.PutRequest{Key: "k", Record: &tiebackv1.Record{Name: strings.Repeat("x", 12<<20)}}); err != nil {
		t.Errorf("a large record: %v", err)
	}
	_, err = d.Put(t.Context(), &tiebackv1.PutRequest{Key: "k", Record: &tiebackv1.Record{Name: strings.Repeat("x", MaxMessage+1)}})
	expect(t, err, fault.Permanent, "larger than max")
	expect(t, putKey(t.Context(), d, "long"), fault.Ambiguous, "Find returns the booking")
	if err := putKey(t.Context(), d, "after"); err != nil || d.streams.open() != s {
		t.Errorf("%v, the stream is another one: %v", err, d.streams.open() != s)
	}
}

func TestPanicEndsOnlyItsRecord(t *testing.T) {
	address, _ := served(t, driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		if q.Key == "panics" {
			panic(secret)
		}
		return booked(q.Key), nil
	}}, ServerConfig{})
	d := streaming(t, address, nil)
	err := putKey(t.Context(), d, "panics")
	expect(t, err, fault.Ambiguous, "panicked")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
	if err := putKey(t.Context(), d, "after"); err != nil {
		t.Error(err)
	}
}

// A stream needs the token, as a call does.
func TestStreamNeedsTheToken(t *testing.T) {
	address, _ := served(t, driver{}, ServerConfig{Tokens: []string{secret}})
	if err := put(t.Context(), streaming(t, address, map[string]string{"token": secret})); err != nil {
		t.Error(err)
	}
	for token, says := range map[string]string{"": "requires a token", "another-token-altogether": "refuses our token"} {
		d := opened(t, address, map[string]string{"token": token}).(*client)
		d.streams.offered.Store(true)
		expect(t, put(t.Context(), d), fault.Transient, says)
	}
}

// The metadata of a record is its own.
func TestRehearsalOnAStream(t *testing.T) {
	address, _ := served(t, rehearsal.Edge(driver{}), ServerConfig{Rehearsal: true})
	d := streaming(t, address, nil)
	expect(t, put(rehearsal.With(t.Context(), rehearsal.Throttled), d), fault.Throttled, "throttled")
	expect(t, put(rehearsal.With(t.Context(), rehearsal.LostAnswer), d), fault.Ambiguous, "lost")
	if err := put(t.Context(), d); err != nil || d.streams.open() == nil {
		t.Errorf("%v", err)
	}
}

// generations is that of records that were never unlinked.
type generations struct{}

func (generations) Generation(context.Context, int64, string, int64) (order.Key, error) {
	return "", nil
}

func (generations) NextGeneration(context.Context, int64, string, int64, order.Key) error {
	return nil
}

// The pipeline books on a stream where the connector offers it: this connector refuses calls of Put.
func TestBookingUsesTheStream(t *testing.T) {
	f := &streamOnly{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	tiebackv1.RegisterConnectorServiceServer(s, f)
	t.Cleanup(s.Stop)
	go func() { _ = s.Serve(l) }()
	erp := connector.New(opened(t, l.Addr().String(), nil), connector.Config{Company: 1, Generations: generations{}})
	request := connector.RequestRef{Order: order.New(time.Now(), 900)}
	b, err := erp.Book(t.Context(), request, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_VENDOR, ProcoreId: 35, Name: "Acme"})
	if err != nil || b.GetOriginId() != "V-1" {
		t.Errorf("%v, %v", b, err)
	}
}

// streamOnly books vendors on streams only.
type streamOnly struct {
	tiebackv1.UnimplementedConnectorServiceServer
}

func (streamOnly) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{Name: "test", PutStream: true, Entities: []*tiebackv1.EntityCapability{{Entity: tiebackv1.Entity_ENTITY_VENDOR, Put: true}}}, nil
}

func (streamOnly) PutStream(s grpc.BidiStreamingServer[tiebackv1.PutStreamRequest, tiebackv1.PutStreamResponse]) error {
	for {
		q, err := s.Recv()
		if err != nil {
			return nil
		}
		b := &tiebackv1.Booking{OriginId: "V-1", Stamp: q.Put.Stamp}
		if err := s.Send(&tiebackv1.PutStreamResponse{Id: q.Id, Result: &tiebackv1.PutStreamResponse_Put{Put: &tiebackv1.PutResponse{Booking: b}}}); err != nil {
			return err
		}
	}
}
