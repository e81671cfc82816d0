package erplog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader returns a reader of a company whose Procore answers with h.
func reader(t *testing.T, h func(r *http.Request) (header map[string]string, body any)) *Reader {
	t.Helper()
	session := procoretest.Session(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, body := h(r)
		for k, v := range header {
			w.Header().Set(k, v)
		}
		_ = json.NewEncoder(w).Encode(body)
	}))
	return &Reader{Session: session, Company: procoretest.Company, Backoff: time.Millisecond}
}

// deliveryLog is a log of n deliveries, from event 1001 and request 1 on, in the ways in which Procore may page it.
type deliveryLog struct {
	n       int
	byCount bool // page_start counts, and does not name the last id
	newest  bool // the newest first
	cap     int  // of a page
	gone    int  // that the log has forgotten, of the oldest
}

func (l *deliveryLog) page(r *http.Request) any {
	q := r.URL.Query()
	size, _ := strconv.Atoi(q.Get("page_size"))
	start, _ := strconv.Atoi(q.Get("page_start"))
	all := []map[string]any{}
	for i := l.gone + 1; i <= l.n; i++ {
		at := time.Unix(1_700_000_000+int64(i), 0).UTC().Format(time.RFC3339)
		all = append(all, map[string]any{"event_id": 1000 + i, "outcome": "discarded", "event": map[string]any{
			"id": 1000 + i, "ulid": fmt.Sprint("U", i), "resource_name": "ERP Requests", "event_type": "create", "resource_id": i, "company_id": 7, "timestamp": at,
		}})
	}
	if l.newest {
		slices.Reverse(all)
	}
	switch {
	case l.byCount:
		all = all[min(start, len(all)):]
	case start > 0:
		all = slices.DeleteFunc(all, func(d map[string]any) bool {
			id := d["event_id"].(int)
			return id == start || (id > start) == l.newest
		})
	}
	return all[:min(len(all), size, max(l.cap, 0))]
}

// However Procore means page_start, whatever its pages hold, and whichever end it begins at,
// every delivery is read, and an idle reading costs one call where the log's end can be named.
func TestEveryDeliveryIsReadHoweverProcorePages(t *testing.T) {
	for _, c := range []struct {
		name string
		log  deliveryLog
		idle int // calls
	}{
		{"by id, more than a page", deliveryLog{n: 250, cap: 100}, 1},
		{"by id, exactly two pages", deliveryLog{n: 200, cap: 100}, 1},
		{"by id, newest first", deliveryLog{n: 250, cap: 100, newest: true}, 1},
		{"by count", deliveryLog{n: 250, cap: 100, byCount: true}, 4},
		{"by count, exactly two pages", deliveryLog{n: 200, cap: 100, byCount: true}, 4},
		{"one page", deliveryLog{n: 30, cap: 1000}, 1},
		{"none", deliveryLog{cap: 1000}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := c.log
			r := reader(t, func(r *http.Request) (map[string]string, any) { return nil, log.page(r) })
			read := map[int64]bool{}
			take := func(some []Logged) error {
				for _, d := range some {
					read[d.ErpRequestId] = true
				}
				return nil
			}
			mark, err := r.Deliveries(t.Context(), 1, LogDiscarded, DeliveryMark{}, take)
			if err != nil || len(read) != log.n {
				t.Fatalf("read %d of %d: %v", len(read), log.n, err)
			}
			before := r.Calls()
			if mark, err = r.Deliveries(t.Context(), 1, LogDiscarded, mark, take); err != nil || r.Calls()-before != c.idle {
				t.Errorf("an idle reading made %d calls, want %d: %v", r.Calls()-before, c.idle, err)
			}
			log.n, log.gone = log.n+150, min(log.n, 120) // the log grows, and forgets its oldest
			if _, err = r.Deliveries(t.Context(), 1, LogDiscarded, mark, take); err != nil || len(read) != log.n {
				t.Errorf("after it grew, read %d of %d: %v", len(read), log.n, err)
			}
		})
	}
}

func TestALineThatCanNotBeReadHidesNoOther(t *testing.T) {
	log := deliveryLog{n: 3, cap: 100}
	r := reader(t, func(r *http.Request) (map[string]string, any) {
		all := log.page(r).([]map[string]any)
		all[1]["event"].(map[string]any)["resource_id"] = "nonsense"
		return nil, all
	})
	n := 0
	_, err := r.Deliveries(t.Context(), 1, LogAny, DeliveryMark{}, func(some []Logged) error { n += len(some); return nil })
	if err != nil || n != 2 || len(r.Malformed) != 1 || !strings.Contains(r.Malformed[0], "resource_id") {
		t.Errorf("%d read, odd: %v, %v", n, r.Malformed, err)
	}
}

// detailBook is a list of details in the ways in which Procore may order it.
type detailBook struct {
	n      int
	gone   int // of the oldest, removed
	order  string
	per    int
	young  int // of the newest, created just now
	silent bool
}

func (b *detailBook) page(r *http.Request) (map[string]string, any) {
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	all := []map[string]any{}
	for i := b.gone + 1; i <= b.n; i++ {
		at := time.Now().Add(-time.Hour)
		if i > b.n-b.young {
			at = time.Now()
		}
		all = append(all, map[string]any{"id": i, "erp_request_id": 10_000 + i, "status": "in_progress", "created_at": at.UTC().Format(time.RFC3339)})
	}
	switch b.order {
	case "newest first":
		slices.Reverse(all)
	case "none":
		slices.SortFunc(all, func(x, y map[string]any) int { return x["id"].(int)%7 - y["id"].(int)%7 })
	}
	header := map[string]string{"Total": fmt.Sprint(len(all)), "Per-Page": fmt.Sprint(b.per)}
	if b.silent {
		header = nil
	}
	return header, all[min((page-1)*b.per, len(all)):min(page*b.per, len(all))]
}

// What an earlier reading has settled is not read again, where the order can be relied on; where
// it can't, or the list is not what it was, all is read.
func TestEveryDetailIsSeenAndAnIdleReadingCostsOneCall(t *testing.T) {
	for _, c := range []struct {
		name       string
		book       detailBook
		full, idle int // calls
	}{
		{"oldest first", detailBook{n: 950, per: 100}, 10, 1},
		{"oldest first, full pages", detailBook{n: 900, per: 100}, 9, 1},
		{"oldest first, one page", detailBook{n: 30, per: 100}, 1, 1},
		{"oldest first, silent about its pages", detailBook{n: 250, per: 100, silent: true}, 3, 1},
		{"newest first", detailBook{n: 950, per: 100, order: "newest first"}, 10, 1},
		{"in no order", detailBook{n: 950, per: 100, order: "none"}, 10, 10},
		{"empty", detailBook{per: 100}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			book := c.book
			r := reader(t, func(r *http.Request) (map[string]string, any) { return book.page(r) })
			seen := map[int64]bool{}
			take := func(some []procore.Detail) error {
				for _, d := range some {
					seen[d.ID] = true
				}
				return nil
			}
			var mark DetailMark
			read := func(what string, want int) {
				t.Helper()
				before := r.Calls()
				var err error
				if mark, err = r.Details(t.Context(), mark, time.Minute, take); err != nil {
					t.Fatal(err)
				}
				for i := book.gone + 1; i <= book.n; i++ {
					if !seen[int64(i)] {
						t.Fatalf("%s: detail %d was not seen", what, i)
					}
				}
				if made := r.Calls() - before; want > 0 && made != want {
					t.Errorf("%s: %d calls, want %d", what, made, want)
				}
			}
			read("in full", c.full)
			read("idle", c.idle)
			book.n += 30
			read("after it grew", 0)
			book.gone = min(book.n, 250)
			book.n += 250
			read("after its oldest were removed, and as many came", 0)
			read("idle again", 0)
		})
	}
}

// A click may be on its way: its detail is looked at again, and again, until it is old enough.
func TestADetailTooYoungToBeMissedIsNotSettled(t *testing.T) {
	for _, order := range []string{"", "newest first"} {
		book := detailBook{n: 250, per: 100, young: 3, order: order}
		r := reader(t, func(r *http.Request) (map[string]string, any) { return book.page(r) })
		var mark DetailMark
		for range 2 {
			n := 0
			var err error
			mark, err = r.Details(t.Context(), mark, time.Minute, func(some []procore.Detail) error {
				for _, d := range some {
					if d.Age < time.Minute {
						n++
					}
				}
				return nil
			})
			if err != nil || n != 3 {
				t.Errorf("%q: %d young details seen, want 3 each time: %v", order, n, err)
			}
		}
	}
}

// A long reading leaves half of the limit to the services: the newest pages come first, as those matter most.
func TestTheNewestPagesAreReadFirst(t *testing.T) {
	book := detailBook{n: 950, per: 100}
	var pages []string
	r := reader(t, func(r *http.Request) (map[string]string, any) {
		pages = append(pages, r.URL.Query().Get("page"))
		return book.page(r)
	})
	if _, err := r.Details(t.Context(), DetailMark{}, 0, func([]procore.Detail) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(pages, " "); got != "1 10 9 8 7 6 5 4 3 2" {
		t.Errorf("read pages %s", got)
	}
}

// attempts is a log with a line for each attempt, whose status filter does nothing.
func attempts(lines ...string) []map[string]any {
	out := []map[string]any{}
	for i, line := range lines {
		event, outcome, _ := strings.Cut(line, " ")
		age := time.Hour
		if strings.HasPrefix(event, "9") {
			age = 30 * time.Hour
		}
		id, _ := strconv.Atoi(event)
		out = append(out, map[string]any{"event_id": id, "outcome": outcome, "started_at": fmt.Sprint("at ", i), "event": map[string]any{
			"id": id, "ulid": fmt.Sprint("U", id), "resource_name": "ERP Requests", "event_type": "create", "resource_id": id, "company_id": 7,
			"timestamp": time.Now().Add(-age).UTC().Format(time.RFC3339),
		}})
	}
	return out
}

// A Procore that ignores the filter lists everything: what is counted and handed over is of the status all the same.
func TestAFilterThatIsIgnoredMakesNothingWrong(t *testing.T) {
	lines := []string{"90 retried", "91 ok", "92 discarded"} // 90: too old to be retried any more
	for i := range 150 {
		lines = append(lines, fmt.Sprint(100+i, " ok"))
	}
	lines = append(lines, "301 retried", "301 retried", "302 retried", "302 ok", "303 failed", "304 discarded", "305 retried", "305 discarded")
	var queries []string
	r := reader(t, func(r *http.Request) (map[string]string, any) {
		q := r.URL.Query()
		queries = append(queries, q.Get("filter[status]")+" "+q.Get("filters[status]"))
		return nil, attempts(lines...)
	})
	collect := func(into *[]int64) func([]Logged) error {
		return func(some []Logged) error {
			for _, d := range some {
				*into = append(*into, d.ErpRequestId)
			}
			return nil
		}
	}
	var failing, discarded []int64
	n, _, err := r.Failing(t.Context(), 1, DeliveryMark{}, collect(&failing))
	if err != nil || n != 2 { // 301 and 303
		t.Errorf("%d events fail, want 2: %v", n, err)
	}
	slices.Sort(failing)
	if got := slices.Compact(failing); !slices.Equal(got, []int64{90, 301, 302, 303, 305}) {
		t.Errorf("failing: %v", got)
	}
	if _, err := r.Deliveries(t.Context(), 1, LogDiscarded, DeliveryMark{}, collect(&discarded)); err != nil || !slices.Equal(discarded, []int64{92, 304, 305}) {
		t.Errorf("discarded: %v, %v", discarded, err)
	}
	if !slices.Contains(queries, "failing failing") || !slices.Contains(queries, "discarded discarded") {
		t.Errorf("asked for %v", queries)
	}
}

// While Procore retries a delivery its line may still become "discarded": the mark of a list that is not filtered
// stays in front of it, or no sweep of that day would see it.
func TestAMarkStaysBeforeWhatMayStillBeDiscarded(t *testing.T) {
	for _, newest := range []bool{false, true} {
		var lines []string
		for i := range 120 {
			lines = append(lines, fmt.Sprint(900+i, " ok"))
		}
		lines = append(lines, "1101 retried", "1102 ok")
		r := reader(t, func(r *http.Request) (map[string]string, any) {
			start, _ := strconv.Atoi(r.URL.Query().Get("page_start"))
			all := slices.DeleteFunc(attempts(lines...), func(d map[string]any) bool {
				return start > 0 && ((d["event_id"].(int) > start) == newest || d["event_id"].(int) == start)
			})
			if newest {
				slices.Reverse(all)
			}
			return nil, all[:min(len(all), 100)]
		})
		nothing := func([]Logged) error { return nil }
		mark, err := r.Deliveries(t.Context(), 1, LogDiscarded, DeliveryMark{}, nothing)
		if err != nil {
			t.Fatal(err)
		}
		lines[len(lines)-2] = "1101 discarded"
		var found []int64
		before := r.Calls()
		_, err = r.Deliveries(t.Context(), 1, LogDiscarded, mark, func(some []Logged) error {
			for _, d := range some {
				found = append(found, d.ErpRequestId)
			}
			return nil
		})
		if err != nil || !slices.Equal(found, []int64{1101}) {
			t.Errorf("newest first %v: from mark %+v found %v, %v", newest, mark, found, err)
		}
		if calls := r.Calls() - before; calls != 1 {
			t.Errorf("newest first %v: from mark %+v in %d calls, want 1", newest, mark, calls)
		}
	}
}
