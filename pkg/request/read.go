package request

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// Messages returns all messages of a request, ordered by stream and sequence. It reads the streams concurrently, so that it
// waits only for one timeout if the broker does not answer. unread has, by kind, the errors of the streams that could not be
// read; the messages of the other streams are returned nevertheless.
func Messages(ctx context.Context, b *bus.Bus, company, request int64) (all []bus.Message, unread map[bus.Kind]error) {
	found, errs := make([][]bus.Message, len(bus.Kinds)), make([]error, len(bus.Kinds))
	var reads sync.WaitGroup
	for i, k := range bus.Kinds {
		reads.Go(func() {
			errs[i] = b.Scan(ctx, bus.Scan{Kind: k, Subjects: subjectsOf(k, company, request)}, func(m bus.Message) error {
				found[i] = append(found[i], m)
				return nil
			})
		})
	}
	reads.Wait()
	unread = map[bus.Kind]error{}
	for i, err := range errs {
		if err != nil {
			unread[bus.Kinds[i]] = err
		}
	}
	return slices.Concat(found...), unread
}

func subjectsOf(k bus.Kind, company, request int64) []string {
	first := fmt.Sprintf("tb.%s.*.*.%d.%d", k, company, request)
	return []string{first, first + ".*"}
}

// perScan is the largest number of requests that one scan reads. Each takes two of the scan's filters.
const perScan = 50

// Read returns the timelines of a company's requests, by request. The timeline of a request without messages is empty.
func Read(ctx context.Context, b *bus.Bus, company int64, requests ...int64) (map[int64]*Timeline, error) {
	r, err := newReader(ctx, b)
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(requests, perScan) {
		for _, k := range readOrder {
			q := bus.Scan{Kind: k}
			for _, request := range some {
				r.timeline(request)
				q.Subjects = append(q.Subjects, subjectsOf(k, company, request)...)
			}
			if err := r.scan(ctx, q); err != nil {
				return nil, err
			}
		}
	}
	return r.finish(), nil
}

// ReadSince returns the timelines of a company's requests, by request, from the messages that were stored at or after
// since, with one scan per stream. If a request was reported as dead-lettered and its dead letter was not read (it may be older
// than since), ReadSince reads all messages of that request.
func ReadSince(ctx context.Context, b *bus.Bus, company int64, since time.Time) (map[int64]*Timeline, error) {
	r, err := newReader(ctx, b)
	if err != nil {
		return nil, err
	}
	for _, k := range readOrder {
		if err := r.scan(ctx, bus.Scan{Kind: k, Subjects: []string{fmt.Sprintf("tb.%s.*.*.%d.>", k, company)}, Since: since}); err != nil {
			return nil, err
		}
	}
	all := r.finish()
	var lost []int64
	for request, t := range all {
		if t.lostDeadLetter(time.Now()) {
			lost = append(lost, request)
		}
	}
	complete, err := Read(ctx, b, company, lost...)
	maps.Copy(all, complete)
	return all, err
}

// readOrder begins with the kinds that a request reaches last. A request that advances during the read may appear at a stage
// that it has left; but a run that began before the read is never missed. Outcomes are also read before events, so the payload
// of an event that has an outcome is not parsed.
var readOrder = []bus.Kind{bus.Closed, bus.Resolution, bus.Dead, bus.Outcome, bus.Event, bus.Delivery}

// reader collects timelines while the streams are read.
type reader struct {
	bus       *bus.Bus
	retention time.Duration
	timelines map[int64]*Timeline
}

func newReader(ctx context.Context, b *bus.Bus) (*reader, error) {
	retention, err := b.Retention(ctx, bus.Event)
	return &reader{bus: b, retention: retention, timelines: map[int64]*Timeline{}}, err
}

func (r *reader) timeline(request int64) *Timeline {
	if r.timelines[request] == nil {
		r.timelines[request] = newTimeline(request, r.retention)
	}
	return r.timelines[request]
}

func (r *reader) scan(ctx context.Context, q bus.Scan) error {
	return r.bus.Scan(ctx, q, func(m bus.Message) error {
		if m.Subject != (bus.Subject{}) {
			r.timeline(m.Subject.Request).add(m)
		}
		return nil
	})
}

func (r *reader) finish() map[int64]*Timeline {
	for _, t := range r.timelines {
		t.finish()
	}
	return r.timelines
}

// Companies returns the companies that have a request with this id, sorted. It looks in each known company for a delivery of the
// request. Only if it finds none, it scans all streams, because the delivery may have expired.
func Companies(ctx context.Context, b *bus.Bus, request int64, known []int64) ([]int64, error) {
	var found []int64
	for _, c := range known {
		arrived, err := b.Has(ctx, bus.For(bus.Delivery, "", c, request))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", bus.Delivery.Stream(), err)
		}
		if arrived {
			found = append(found, c)
		}
	}
	var errs []error
	if found == nil {
		for _, k := range bus.Kinds {
			first := fmt.Sprintf("tb.%s.*.*.*.%d", k, request)
			errs = append(errs, b.Scan(ctx, bus.Scan{Kind: k, Subjects: []string{first, first + ".*"}}, func(m bus.Message) error {
				if m.Subject != (bus.Subject{}) {
					found = append(found, m.Subject.Company)
				}
				return nil
			}))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), errors.Join(errs...)
}

// kindOf returns the kind of a stream's messages: the rest of the stream's name after TIEBACK_, in lower case. It returns "" for a
// name without TIEBACK_.
func kindOf(stream string) bus.Kind {
	_, kind, _ := strings.Cut(strings.ToLower(stream), "tieback_")
	return bus.Kind(kind)
}
