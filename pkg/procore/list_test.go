package procore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

var vendors = procore.Call{Route: procore.Route{Name: "vendors_list", Method: "GET", Path: "/rest/v1.0/vendors"}, Query: procore.Query("company_id", int64(7))}

// paged returns the items from 1 to total, in pages of at most capped items, with the headers of headers.
func paged(t *testing.T, total, most int, headers func(h http.Header, page, per, to int)) *procore.Session {
	var n atomic.Int64
	return session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		per, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
		if r.URL.Query().Get("company_id") != "7" || page < 1 || per != procore.PerPage {
			t.Errorf("asked for %s", r.URL)
		}
		per = min(per, most)
		from, to := min((page-1)*per, total), min(page*per, total)
		headers(w.Header(), page, per, to)
		var items []string
		for i := from; i < to; i++ {
			items = append(items, fmt.Sprintf(`{"id":%d}`, 9007199254740993+i))
		}
		fmt.Fprintf(w, "[%s]", strings.Join(items, ","))
	})
}

func read(t *testing.T, s *procore.Session) (ids []string) {
	t.Helper()
	for item, err := range s.List(t.Context(), vendors) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprint(item["id"]))
	}
	return ids
}

// A list is read completely, and no further, for each way to indicate its end and each size of pages.
func TestListIsReadCompletely(t *testing.T) {
	none := func(http.Header, int, int, int) {}
	for _, c := range []struct {
		name        string
		total, most int
		headers     func(h http.Header, page, per, to int)
	}{
		{"empty", 0, 1000, none},
		{"one short page", 7, 1000, none},
		{"capped, and it says nothing", 250, 100, none},
		{"ends with a full page, and says nothing", 200, 100, none},
		{"Per-Page", 25, 10, func(h http.Header, _, per, _ int) { h.Set("Per-Page", strconv.Itoa(per)) }},
		{"Total", 25, 10, func(h http.Header, _, _, _ int) { h.Set("Total", "25") }},
		{"Link", 2500, 1000, func(h http.Header, page, _, to int) {
			h.Add("Link", fmt.Sprintf(`<http://x/?page=%d>; rel="first"`, 1))
			if to < 2500 {
				h.Add("Link", fmt.Sprintf(`<http://x/?page=%d>; rel="next"`, page+1))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ids := read(t, paged(t, c.total, c.most, c.headers))
			if len(ids) != c.total || c.total > 0 && ids[c.total-1] != fmt.Sprint(9007199254740993+c.total-1) {
				t.Errorf("%d items of %d", len(ids), c.total)
			}
		})
	}
}

// A list that ignores the page parameter is read once, not endlessly.
func TestUnpagedListIsReadOnce(t *testing.T) {
	var n, calls atomic.Int64
	body := "[" + strings.TrimSuffix(strings.Repeat(`{"id":1},`, 300), ",") + "]"
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			calls.Add(1)
			fmt.Fprint(w, body)
		}
	})
	if ids := read(t, s); len(ids) != 300 || calls.Load() != 2 {
		t.Errorf("%d items in %d calls", len(ids), calls.Load())
	}
}

func TestListInDataField(t *testing.T) {
	var n atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			fmt.Fprint(w, `{"data":[{"id":"12"}]}`)
		}
	})
	if ids := read(t, s); len(ids) != 1 || ids[0] != "12" {
		t.Errorf("%v", ids)
	}
}

func TestThrottledPageIsReadAgain(t *testing.T) {
	var n, calls atomic.Int64
	var pages []string
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		page := r.URL.Query().Get("page")
		pages = append(pages, page)
		w.Header().Set("Total", "3")
		if calls.Add(1) == 2 {
			w.Header().Set("Retry-After", "0") // the client waits 0.1 s at least
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprintf(w, `[{"id":%s}]`, page)
	})
	var ids []string
	for item, err := range s.List(t.Context(), vendors) {
		if err != nil {
			if fault.ClassOf(err) != fault.Throttled {
				t.Fatal(err)
			}
			time.Sleep(fault.RetryAfter(err))
			continue
		}
		ids = append(ids, fmt.Sprint(item["id"]))
	}
	if got := strings.Join(pages, " "); got != "1 2 2 3" || strings.Join(ids, " ") != "1 2 3" {
		t.Errorf("pages %s, items %v", got, ids)
	}
}

// If an item is deleted between two pages, an item of the next page moves to the page that was read, and would be missed. The list
// is read again.
func TestListThatBecameShorterIsReadAgain(t *testing.T) {
	var n, calls atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &n) {
			return
		}
		total := 3
		if calls.Add(1) > 1 {
			total = 2
		}
		w.Header().Set("Total", strconv.Itoa(total))
		fmt.Fprintf(w, `[{"id":%s}]`, r.URL.Query().Get("page"))
	})
	var ids []string
	var errs int
	for item, err := range s.List(t.Context(), vendors) {
		if err != nil {
			errs++
			continue
		}
		ids = append(ids, fmt.Sprint(item["id"]))
	}
	if got := strings.Join(ids, " "); got != "1 1 2" || errs != 1 {
		t.Errorf("items %s, %d errors", got, errs)
	}
}

func TestPermanentErrorEndsList(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		class  fault.Class
	}{{404, `{}`, fault.Permanent}, {403, `{}`, fault.Permanent}, {200, `null`, fault.Transient}, {200, `{"message":"hello"}`, fault.Transient}, {200, `[1]`, fault.Transient}} {
		var n atomic.Int64
		s := session(t, func(w http.ResponseWriter, r *http.Request) {
			if !token(w, r, &n) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}
		})
		var errs []error
		for _, err := range s.List(t.Context(), vendors) {
			if errs = append(errs, err); len(errs) == 2 {
				break
			}
		}
		want := map[fault.Class]int{fault.Permanent: 1, fault.Transient: 2}[c.class]
		if len(errs) != want || fault.ClassOf(errors.Join(errs...)) != c.class {
			t.Errorf("%d %s: %v", c.status, c.body, errs)
		}
	}
}

func TestInvalidIDs(t *testing.T) {
	for _, v := range []any{json.Number("9223372036854775808"), "9223372036854775808", json.Number("1e3"), json.Number("1.5"), json.Number("-1"), "+1", "x", true, []any{}} {
		if id, err := procore.ParseID(v); id != 0 || !errors.Is(err, procore.ErrNoID) {
			t.Errorf("%v: %d, error %v", v, id, err)
		}
	}
	if id, err := procore.ParseID(json.Number("9223372036854775807")); id != 1<<63-1 || err != nil {
		t.Errorf("%d, error %v", id, err)
	}
}
