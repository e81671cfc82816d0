package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/broker"
)

// storedType is the event type of the stored events. Its sample payload has 3 to 4 KB, and its outcome makes two links.
const storedType = "create_commitment"

// stored measures the broker with what it keeps at each of the rates, in events per day, with the default retention and the links
// of the days that the longest retention has. The broker is a process of its own. It is killed, so that its restart reads what a
// crash leaves, and started again. Then it is backed up; the rows of the second table follow those of the first.
func stored(ctx context.Context, rates []int, out io.Writer) error {
	fmt.Fprintf(out, "events a day   messages     links   disk MB   heap MB   KB per event   restart s   its CPU s   peak MiB   stopped and started s\n")
	copied := bytes.NewBufferString(copiesHeader)
	defer func() { _, _ = copied.WriteTo(out) }()
	for _, perDay := range rates {
		if err := storedAt(ctx, perDay, out, copied); err != nil {
			return fmt.Errorf("%d events per day: %w", perDay, err)
		}
	}
	return nil
}

func storedAt(ctx context.Context, perDay int, out, copied io.Writer) error {
	dir, err := os.MkdirTemp("", "tieback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, _, err := startStored(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { c.kill() }()
	messages, links, err := c.fill(ctx, perDay)
	if err != nil {
		return err
	}
	select { // the broker caches what was written last for some seconds
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(cached):
	}
	heap := 0.0
	if err := c.get(ctx, "/heap", &heap); err != nil {
		return err
	}
	disk, err := sizeOf(dir)
	if err != nil {
		return err
	}
	c.kill()
	killed, restart, err := startStored(ctx, dir)
	if err != nil {
		return err
	}
	c = killed
	peak, _ := c.memory()
	cpu, err := c.cpu()
	if err == nil {
		err = c.get(ctx, "/close", new(bool))
	}
	if err != nil {
		return err
	}
	c.kill()
	stopped, started, err := startStored(ctx, dir)
	if err != nil {
		return err
	}
	c = stopped
	events := float64(perDay * days(topology.Closed))
	fmt.Fprintf(out, "%12d %10d %9d %9.0f %9.0f %14.2f %11.1f %11.1f %9.0f %23.1f\n",
		perDay, messages, links, disk/1e6, heap/1e6, heap/1e3/events, restart.Seconds(), cpu, peak, started.Seconds())
	return c.copies(ctx, dir, perDay, messages, copied)
}

// cached is longer than the broker keeps what it has written or read in memory.
const cached = 30 * time.Second

// startStored starts the broker's process, and returns it with the time until all streams answer.
func startStored(ctx context.Context, dir string) (*child, time.Duration, error) {
	began := time.Now()
	c, err := startChild(ctx, "stored", dir, "BENCH_DATA="+filepath.Join(dir, "nats"))
	if err != nil {
		return nil, 0, err
	}
	b, err := c.connect(ctx)
	if err != nil {
		c.kill()
		return nil, 0, err
	}
	defer b.Close()
	return c, time.Since(began), nil
}

// connect connects to the broker of a child process.
func (c *child) connect(ctx context.Context) (*bus.Bus, error) {
	var url string
	if err := c.get(ctx, "/nats", &url); err != nil {
		return nil, err
	}
	return bus.Connect(ctx, bus.Options{URL: url, Name: "bench", Log: zap.NewNop()})
}

// serveStored is a broker on the folder BENCH_DATA. It serves for the parent
//
//	/nats    its address, when it has read its streams
//	/heap    the bytes in use on the heap, after a garbage collection
//	/close   stops the broker
func serveStored(ctx context.Context, getenv func(string) string) error {
	var srv *broker.Server
	var url string
	var failure error
	ready := make(chan struct{})
	go func() {
		srv, url, failure = broker.StartListening(getenv("BENCH_DATA"))
		close(ready)
	}()
	mux := http.NewServeMux()
	handle(mux, map[string]func(*http.Request) (any, error){
		"GET /nats": func(*http.Request) (any, error) { <-ready; return url, failure },
		"GET /heap": func(*http.Request) (any, error) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc), nil
		},
		"GET /close": func(*http.Request) (any, error) { <-ready; srv.Close(); return true, nil },
	})
	return serveParent(ctx, getenv, mux)
}

// days returns the default retention of a kind in days.
func days(k topology.Kind) int { return int(topology.DefaultRetention.Of(k) / topology.Day) }

// fill stores what the broker keeps at a rate: as many messages of each kind as its retention has days, and two links for each
// close-out. It returns the numbers of all messages and of the links.
func (c *child) fill(ctx context.Context, perDay int) (messages, links int, err error) {
	b, err := c.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer b.Close()
	all, ctx := errgroup.WithContext(ctx)
	for _, k := range []topology.Kind{topology.Delivery, topology.Event, topology.Outcome, topology.Closed} {
		n := perDay * days(k)
		messages += n
		all.Go(func() error {
			return publishAll(ctx, b, n, func(i int) (*nats.Msg, error) { return storedMessage(k, i) })
		})
	}
	links = 2 * perDay * days(topology.Closed)
	messages += links
	all.Go(func() error { return publishAll(ctx, b, links, storedLink) })
	return messages, links, all.Wait()
}

// publishAll publishes n messages in batches.
func publishAll(ctx context.Context, b *bus.Bus, n int, message func(int) (*nats.Msg, error)) error {
	const most = 1000
	for from := 0; from < n; from += most {
		var batch []*nats.Msg
		for i := from; i < min(n, from+most); i++ {
			m, err := message(i)
			if err != nil {
				return err
			}
			batch = append(batch, m)
		}
		if _, err := jetstreamext.PublishMsgBatch(ctx, b.JetStream(), batch, jetstreamext.BatchFlowControl{AckTimeout: time.Minute}); err != nil {
			return err
		}
	}
	return nil
}

const storedCompany = 598134325841112

// storedID returns the id of the i-th request.
func storedID(i int) int64 { return 598134326000000 + int64(i) }

// storedMessage returns the i-th message of a kind.
func storedMessage(k topology.Kind, i int) (*nats.Msg, error) {
	now := time.Now()
	id, at := storedID(i), timestamppb.New(now)
	record := tiebackv1.Link{ItemType: "work_order_contract", ItemId: id, OriginId: fmt.Sprintf("WO-%d", i)}
	var m proto.Message = &tiebackv1.Outcome{CompanyId: storedCompany, ErpRequestId: id, Type: storedType, RequestedAt: at, ProcoreCalls: 1, CloseOuts: []*tiebackv1.CloseOut{{
		RequestDetailId: id + 1, Status: tiebackv1.Status_STATUS_SUCCESS, Record: fmt.Sprintf("commitment %q", record.OriginId),
		Messages: []string{fmt.Sprintf("Exported commitment %q to the ERP as %s.", record.OriginId, record.OriginId)},
		Marks:    []*tiebackv1.Mark{{ItemType: record.ItemType, ItemId: id, OriginId: record.OriginId}, {ItemType: "line_item", ItemId: id + 2, OriginId: record.OriginId + "-1"}},
	}}}
	s := bus.For(k, storedType, storedCompany, id)
	switch k {
	case topology.Delivery:
		s = bus.For(k, "", storedCompany, id)
		m = &tiebackv1.Delivery{CompanyId: storedCompany, ErpRequestId: id, EventId: fmt.Sprintf("01JD%022d", i), ApiVersion: "v4.0", UserId: 77, OccurredAt: at, ReceivedAt: at}
	case topology.Event:
		payload, ok := dictionary.Sample(storedType)
		if !ok {
			return nil, errors.New("no sample of " + storedType)
		}
		m = &tiebackv1.Event{CompanyId: storedCompany, ErpRequestId: id, Type: storedType, RequestedAt: at, Payload: payload}
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return bus.IfAbsent(&nats.Msg{Subject: s.String(), Data: data, Header: nats.Header{}}), nil
}

// storedLink returns the i-th link.
func storedLink(i int) (*nats.Msg, error) {
	l := state.Link{OriginID: fmt.Sprintf("WO-%d", i), Order: order.New(time.Now(), storedID(i/2))}
	key, value, err := state.EncodeLink(storedCompany, []string{"work_order_contract", "line_item"}[i%2], storedID(i), l)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: topology.State.Subject(key), Data: value, Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"0"}}}, nil
}

// sizeOf returns the size of the files in a folder, in bytes.
func sizeOf(dir string) (size float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += float64(info.Size())
		}
		return err
	})
	return size, err
}
