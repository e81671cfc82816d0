package endtoend

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// counter is a log sink that counts bytes and the length of the longest line.
type counter struct{ bytes, longest atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	for n := int64(len(p)); ; {
		was := c.longest.Load()
		if n <= was || c.longest.CompareAndSwap(was, n) {
			return len(p), nil
		}
	}
}

func (*counter) Sync() error { return nil }

func (c *counter) core() zapcore.Core {
	return zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), c, zap.DebugLevel)
}

// longAnswers has very large refusals. Each has its reason at the beginning.
var longAnswers = map[string]func(w io.Writer){
	"a message of 20 MB": func(w io.Writer) {
		_, _ = io.WriteString(w, `{"message":"the name is odd: `+strings.Repeat("x", 20<<20)+`"}`)
	},
	"20 MB of errors": func(w io.Writer) {
		_, _ = io.WriteString(w, `{"errors":{"name":["the name is odd"`+strings.Repeat(`,"is too long"`, (20<<20)/14)+`]}}`)
	},
	"without end": func(w io.Writer) {
		_, _ = io.WriteString(w, `{"errors":{"name":["the name is odd: `)
		for piece := strings.Repeat("x", 64<<10); ; {
			if _, err := io.WriteString(w, piece); err != nil {
				return
			}
		}
	},
}

// A refusal of Procore that is larger than anyone reads fails only its event, permanently, with Procore's reason. A 422 with a
// message of 20 MB once made a dead letter that was larger than the broker accepts, and 147 MB of log.
func TestOversizedRefusalsFailOnlyTheirEvents(t *testing.T) {
	t.Parallel()
	type trial struct {
		name, path, eventType, stop string
		answer                      func(io.Writer)
		request                     int64
	}
	var trials []*trial
	for name, answer := range longAnswers {
		trials = append(trials,
			&trial{name: "fetcher, " + name, path: "/erp_requests/", eventType: "create_vendor", stop: "fetcher", answer: answer},
			&trial{name: "worker, " + name, path: "/staged_records/sync", eventType: "sync_vendors", stop: "sync", answer: answer},
			&trial{name: "status-reporter, marks, " + name, path: "/external_data/sync", eventType: "create_vendor", answer: answer},
			&trial{name: "status-reporter, details, " + name, path: "/erp_request_details/sync", eventType: "create_vendor", stop: "status-reporter", answer: answer},
		)
	}
	of := func(company int64) *trial {
		if i := company - firstCompany; i >= 0 && i < int64(len(trials)) {
			return trials[i]
		}
		return nil // another company
	}
	log := &counter{}
	w := newWorld(t, setup{companies: len(trials) + 1, log: log.core(), around: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			company, _ := strconv.ParseInt(r.Header.Get("Procore-Company-Id"), 10, 64)
			if tr := of(company); tr != nil && strings.Contains(r.URL.Path, tr.path) {
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(http.StatusUnprocessableEntity)
				tr.answer(rw)
				return
			}
			next.ServeHTTP(rw, r)
		})
	}})
	l := w.run()
	letters := 0
	for i, tr := range trials {
		company := firstCompany + int64(i)
		if tr.eventType == "sync_vendors" {
			w.add(l, company, "Acme Concrete")
		}
		if tr.stop != "" {
			letters++
		}
		tr.request = w.pressIn(company, tr.eventType, nil)
	}
	other := w.pressIn(firstCompany+int64(len(trials)), "create_vendor", nil)
	w.succeeded(other)
	dead := map[int64]*tiebackv1.DeadLetter{}
	for _, d := range l.letters(letters) {
		dead[d.ErpRequestId] = d
	}
	for _, tr := range trials {
		d := dead[tr.request]
		switch {
		case tr.stop == "" && d != nil:
			t.Errorf("%s: dead-lettered: %.300s", tr.name, d.Error)
		case tr.stop == "":
		case d == nil:
			t.Errorf("%s: no dead letter", tr.name)
		case d.Stage != tr.stop || d.Class != tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT || d.Cause != tiebackv1.Cause_CAUSE_PROCORE || d.Attempts != 1:
			t.Errorf("%s: by %s, %v, %v, after %d attempts: %.300s", tr.name, d.Stage, d.Class, d.Cause, d.Attempts, d.Error)
		case len(d.Error) > 1500 || len(d.UserMessage) > 1500 || !strings.Contains(d.Error, "the name is odd") || !strings.Contains(d.UserMessage, "the name is odd") || len(d.Message) == 0:
			t.Errorf("%s: an error of %d bytes and a sentence of %d: %.200q %.200q", tr.name, len(d.Error), len(d.UserMessage), d.Error, d.UserMessage)
		}
		if tr.stop == "fetcher" || tr.stop == "status-reporter" {
			continue // Procore does not show the request details, or refuses reports for them
		}
		r := w.wait(tr.request)
		said := strings.Join(r.Details[0].Messages, " ")
		if r.Outcome() != sandbox.Failed || len(said) > 1500 || !strings.Contains(said, "the name is odd") || strings.Contains(said, `{"`) {
			t.Errorf("%s: ended %q with %d bytes: %.300q", tr.name, r.Outcome(), len(said), said)
		}
	}
	l.stop()
	t.Logf("%d bytes of log, the longest line has %d", log.bytes.Load(), log.longest.Load())
	if n := log.bytes.Load(); n > 1<<20 || log.longest.Load() > 32<<10 {
		t.Errorf("%d bytes of log were written, the longest line has %d", n, log.longest.Load())
	}
}
