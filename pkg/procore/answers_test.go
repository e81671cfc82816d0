package procore_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// writes writes n bytes in small pieces, so that their number is not known from the start, as long as they are read.
func writes(w http.ResponseWriter, written *atomic.Int64, n int) {
	piece := []byte(strings.Repeat(" ", 64<<10))
	for ; n > 0; n -= len(piece) {
		if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
			return
		}
		written.Add(int64(min(n, len(piece))))
	}
}

// serves answers each call with {} and n bytes of space.
func serves(t *testing.T, n int) (*procore.Session, *atomic.Int64) {
	var tokens atomic.Int64
	written := new(atomic.Int64)
	return session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &tokens) {
			fmt.Fprint(w, "{}")
			writes(w, written, n)
		}
	}), written
}

// An answer is read only up to its maximum size. Otherwise four answers of 60 MB would end a service with 256 MB.
func TestAnswerSizeIsLimited(t *testing.T) {
	for name, c := range map[string]struct {
		call  procore.Call
		bytes int
		want  bool
	}{
		"a request of 1,000 lines": {procore.Call{Route: procore.GetERPRequest, ID: 9}, 3 << 20, true},
		"no request is so large":   {procore.Call{Route: procore.GetERPRequest, ID: 9}, 60 << 20, false},
		"a small one":              {procore.Call{Route: procore.ShowProject, ID: 9, Query: procore.Query("company_id", 7)}, 900 << 10, true},
		"no project is so large":   {procore.Call{Route: procore.ShowProject, ID: 9, Query: procore.Query("company_id", 7)}, 60 << 20, false},
	} {
		s, written := serves(t, c.bytes)
		raw, err := s.Do(t.Context(), c.call)
		switch {
		case c.want && (err != nil || len(raw) != c.bytes+2):
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		case !c.want && (fault.ClassOf(err) != fault.Permanent || fault.SourceOf(err) != fault.FromProcore || !strings.Contains(fault.UserMessage(err, ""), "too large")):
			t.Errorf("%s: %v", name, err)
		case !c.want && written.Load() > 20<<20:
			t.Errorf("%s: %d bytes were read", name, written.Load())
		}
	}
}

func TestPageSizeIsLimited(t *testing.T) {
	for bytes, want := range map[int]bool{10 << 20: true, 30 << 20: false} {
		var tokens, written atomic.Int64
		s := session(t, func(w http.ResponseWriter, r *http.Request) {
			if !token(w, r, &tokens) {
				fmt.Fprint(w, "[]")
				writes(w, &written, bytes)
			}
		})
		call := procore.Call{Route: procore.ListProjects, Query: procore.Query("company_id", 7)}
		_, err := s.ReadPage(t.Context(), call, 1)
		if want != (err == nil) {
			t.Errorf("a page of %d bytes: %v", bytes, err)
		}
		for _, err = range s.List(t.Context(), call) { // ends at a permanent error
		}
		if want != (err == nil) {
			t.Errorf("a list of %d bytes: %v", bytes, err)
		}
	}
}

// A sync action whose answer is too large is split, which makes the answers smaller.
func TestSyncWithTooLargeAnswerIsSplit(t *testing.T) {
	var tokens, calls, written atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		if token(w, r, &tokens) {
			return
		}
		fmt.Fprint(w, `{"entities":[`)
		if calls.Add(1) == 1 {
			writes(w, &written, 3<<20)
		}
		fmt.Fprint(w, `],"errors":[]}`)
	})
	updates := []map[string]any{{"name": "Acme"}, {"name": "Bob"}, {"name": "Carl"}, {"name": "Dan"}}
	if _, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: updates}); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

// The total size of large answers in memory is bounded. Small answers do not wait.
func TestTotalSizeOfAnswersIsLimited(t *testing.T) {
	const large = 5 << 20 // counts as the largest request there is: its size is not known from the start
	var tokens, written atomic.Int64
	var size atomic.Int64
	s := openFor(t, 5*time.Second, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &tokens) {
			fmt.Fprint(w, "{}")
			writes(w, &written, int(size.Load()))
		}
	})
	call := procore.Call{Route: procore.GetERPRequest, ID: 9}
	size.Store(large)
	var releases []func()
	for range 3 {
		ctx, release := procore.Holding(t.Context())
		releases = append(releases, release)
		if _, err := s.Do(ctx, call); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Do(t.Context(), call)
	if fault.ClassOf(err) != fault.Throttled || fault.ReasonOf(err) != fault.Busy || fault.RetryAfter(err) <= 0 {
		t.Errorf("a fourth: %v is %v", err, fault.ClassOf(err))
	}
	size.Store(60 << 10)
	if _, err := s.Do(t.Context(), call); err != nil {
		t.Errorf("a small one at the same time: %v", err)
	}
	for _, release := range releases {
		release()
		release() // twice is harmless
	}
	size.Store(large)
	for range 10 {
		if _, err := s.Do(t.Context(), call); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestTokenSizeIsLimited(t *testing.T) {
	var written atomic.Int64
	s := session(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"t","token_type":"bearer","x":"`)
		writes(w, &written, 900<<10)
		fmt.Fprint(w, `"}`)
	})
	if err := get(t, s); fault.ClassOf(err) != fault.Transient || fault.SourceOf(err) != fault.FromProcore || err == nil {
		t.Errorf("%v", err)
	}
}
