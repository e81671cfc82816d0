package statusreporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The model explores every interleaving of two requests for one record: they are processed, reported, interrupted by a
// crash at any call, redelivered, expired, replayed, and reported late. The status-reporter is the real one; Procore, the
// ERP and the bus are maps.
//
//	process  the ERP books a request, unless a newer request has changed the record; the outcome is published, as a
//	         late one if the deadline has passed
//	expire   the deadline of one of the two passes before its outcome
//	replay   the expired request is processed again, in a run of its own
//	report   one outcome, or all that wait together, are reported; a crash interrupts this after n calls, and the answer
//	         of the last call may be lost
//
// In every state, no success is reported before its mark, nor for anything that the ERP has not done. In every final
// state, each button is free, each report is recorded, and Procore's mark, the link and the ERP agree.
type model struct {
	kinds   []string // of the older and of the newer request: export or unlink
	ids     []int64  // of the older and of the newer request: 1, 2 or 2, 1
	crashes int      // left to happen

	details map[int64]string // Procore: request → its detail's status
	mark    string           // Procore: the record's origin id

	booked  string         // the ERP: the record's origin id
	changed int64          // the ERP: the newest request that changed it
	did     map[int64]bool // the ERP: requests that had their effect

	processed map[string]bool // events by run
	replayed  map[int64]bool
	waiting   map[string]*pendingOutcome // outcomes to report, by subject
	expired   map[int64]bool
	outcomes  map[string]bool // ever written
	closed    map[string]bool
	link      state.Link

	path []string
}

type pendingOutcome struct {
	outcome     *tiebackv1.Outcome
	redelivered bool
}

const modelCompany = 7

func (m *model) clone() *model {
	c := *m
	c.details, c.did, c.processed, c.replayed = maps.Clone(m.details), maps.Clone(m.did), maps.Clone(m.processed), maps.Clone(m.replayed)
	c.expired, c.outcomes, c.closed = maps.Clone(m.expired), maps.Clone(m.outcomes), maps.Clone(m.closed)
	c.waiting = maps.Clone(m.waiting)
	c.path = slices.Clone(m.path)
	return &c
}

// key identifies a state.
func (m *model) key() string {
	var waiting []string
	for s, w := range m.waiting {
		waiting = append(waiting, fmt.Sprint(s, w.redelivered))
	}
	slices.Sort(waiting)
	return fmt.Sprint(m.crashes, m.details, m.mark, m.booked, m.changed, m.did, m.processed, m.replayed, waiting, m.expired, m.outcomes, m.closed, m.link.OriginID, m.link.Order)
}

// place returns 0 for the older request, 1 for the newer one.
func (m *model) place(request int64) int { return slices.Index(m.ids, request) }

// modelTime is a second before which no link has expired.
var modelTime = time.Now().UTC().Truncate(time.Second)

// outcome returns an outcome of a request without close-outs. Both requests are clicked within one second.
func (m *model) outcome(request int64) *tiebackv1.Outcome {
	clicked := modelTime.Add(time.Duration(m.place(request)+1) * time.Microsecond)
	return &tiebackv1.Outcome{CompanyId: modelCompany, ErpRequestId: request, Type: eventTypes[m.kinds[m.place(request)]], RequestedAt: timestamppb.New(clicked)}
}

// eventTypes are the event types of the two kinds of request; item is the item type of the record.
var eventTypes = map[string]string{"export": "create_company_level_direct_cost", "unlink": "unlink_company_level_direct_cost"}

const item = "company_level_direct_cost"

func (m *model) subject(kind bus.Kind, request int64, run string) bus.Subject {
	return bus.For(kind, eventTypes[m.kinds[m.place(request)]], modelCompany, request).WithRun(run)
}

// process processes a request in the ERP, as a driver would, and publishes the outcome.
func (m *model) process(request int64, run string) {
	c := &tiebackv1.CloseOut{RequestDetailId: request, Status: tiebackv1.Status_STATUS_SUCCESS}
	switch export := m.kinds[m.place(request)] == "export"; {
	case m.changed != 0 && m.place(m.changed) > m.place(request):
		c.Status, c.Messages = tiebackv1.Status_STATUS_FAILED, []string{"A newer request has changed this."}
	case export:
		if m.booked == "" {
			m.booked = fmt.Sprint("V-", request)
		}
		c.Marks = []*tiebackv1.Mark{{ItemType: item, ItemId: 5, OriginId: m.booked}}
	default:
		m.booked = ""
		c.Unlinks = []*tiebackv1.Unlink{{ItemType: item, ItemId: 5}}
	}
	if c.Status == tiebackv1.Status_STATUS_SUCCESS {
		m.changed, m.did[request] = request, true
	}
	o := m.outcome(request)
	o.CloseOuts = []*tiebackv1.CloseOut{c}
	s := m.subject(bus.Outcome, request, run)
	if m.outcomes[s.String()] {
		s = s.Late()
	}
	m.publish(s, o)
	m.processed[m.subject(bus.Event, request, run).String()] = true
}

func (m *model) publish(s bus.Subject, o *tiebackv1.Outcome) {
	if !m.outcomes[s.String()] {
		m.outcomes[s.String()] = true
		m.waiting[s.String()] = &pendingOutcome{outcome: o}
	}
}

func (m *model) expire(request int64) {
	o := m.outcome(request)
	o.Expired, o.DeadLettered = true, true
	o.CloseOuts = []*tiebackv1.CloseOut{{RequestDetailId: request, Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{"Not in time."}}}
	m.publish(m.subject(bus.Outcome, request, ""), o)
	m.expired[request] = true
}

// explorer runs the model's steps through the real service.
type explorer struct {
	t          *testing.T
	service    *Service
	session    *procore.Session
	mu         sync.Mutex
	model      *model
	cut        int // calls before the crash, whose answers arrive; the next call is made and its answer is lost; never: no crash
	calls      int
	done       map[string]bool // closed subjects of the outcomes in progress that are a success
	violations []string
}

var errCrash = errors.New("crash")

// never is the cut of a report that is not interrupted.
const never = 1 << 20

// call counts a call to Procore or the bus and reports whether it is made. If it returns an error, the answer is lost.
func (x *explorer) call() (made bool, err error) {
	x.calls++
	switch {
	case x.calls <= x.cut:
		return true, nil
	case x.calls == x.cut+1:
		return true, errCrash
	}
	return false, errCrash
}

func (x *explorer) Has(_ context.Context, s bus.Subject) (bool, error) {
	return x.model.closed[s.String()], nil
}

// Last returns events only, each with its request detail.
func (x *explorer) Last(_ context.Context, s bus.Subject) (bus.Message, bool, error) {
	e := &tiebackv1.Event{CompanyId: s.Company, ErpRequestId: s.Request, Payload: fmt.Appendf(nil, `{"request_detail_id":%d}`, s.Request)}
	data, err := proto.Marshal(e)
	return bus.Message{Subject: s, Data: data}, s.Kind == bus.Event, err
}

func (x *explorer) PublishOnce(_ context.Context, s bus.Subject, o proto.Message) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range o.(*tiebackv1.Outcome).CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED && x.done[s.String()] {
			x.violations = append(x.violations, fmt.Sprint(s, " is recorded as failed, but the ERP has done it: ", c.Messages))
		}
	}
	made, err := x.call()
	if made {
		x.model.closed[s.String()] = true
	}
	return err
}

func (x *explorer) Link(context.Context, int64, string, int64) (state.Link, error) {
	return x.model.link, nil
}

func (x *explorer) SaveLink(_ context.Context, _ int64, _ string, _ int64, l state.Link) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	made, err := x.call()
	if made && l.Order >= x.model.link.Order {
		x.model.link = l
	}
	return err
}

// RoundTrip is a strict Procore without a network, which is fast enough for many states.
func (x *explorer) RoundTrip(r *http.Request) (*http.Response, error) {
	respond := func(text string) (*http.Response, error) {
		status := http.StatusOK
		if text == notSynced {
			status = http.StatusUnprocessableEntity
		}
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
	}
	if r.URL.Path == "/oauth/token" {
		return respond(`{"access_token":"t","token_type":"bearer","expires_in":5400}`)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	made, err := x.call()
	if !made {
		return nil, err
	}
	text := x.answer(r)
	if err != nil {
		return nil, err
	}
	return respond(text)
}

// notSynced is the answer to an unlink of a record that is not linked.
const notSynced = `{"message":"is not synced"}`

func (x *explorer) answer(r *http.Request) string {
	m := x.model
	if r.Method == http.MethodGet {
		var id int64
		_, _ = fmt.Sscan(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], &id)
		return fmt.Sprintf(`{"id":%d,"status":%q}`, id, m.details[id])
	}
	if strings.Contains(r.URL.Path, "erp_status_management") {
		if m.mark == "" {
			return notSynced
		}
		m.mark = ""
		return `{}`
	}
	var body struct {
		Updates []struct {
			ID     int64  `json:"id"`
			Status string `json:"status"`
			Origin string `json:"origin_id"`
		} `json:"updates"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	if strings.Contains(r.URL.Path, "external_data") {
		for _, u := range body.Updates {
			m.mark = u.Origin
		}
		return `{"entities":[],"errors":[]}`
	}
	var refused []string
	for _, u := range body.Updates {
		if was := m.details[u.ID]; was == "success" || was == "failed" {
			refused = append(refused, fmt.Sprintf(`{"id":%d,"errors":{"status":["is already %s"]}}`, u.ID, was))
			continue
		}
		m.details[u.ID] = u.Status
		x.checkStatus(u.ID, u.Status)
	}
	return `{"entities":[],"errors":[` + strings.Join(refused, ",") + `]}`
}

// checkStatus checks a status when it is reported.
func (x *explorer) checkStatus(request int64, status string) {
	m := x.model
	if status != "success" {
		return
	}
	if !m.did[request] {
		x.violations = append(x.violations, fmt.Sprintf("success was reported for request %d, which the ERP has not done", request))
	}
	if m.kinds[m.place(request)] == "export" && m.mark == "" && m.link.Order <= order.Of(m.outcome(request)) {
		x.violations = append(x.violations, fmt.Sprintf("success was reported for request %d before its mark", request))
	}
}

// report runs the service on some of the waiting outcomes and returns the number of calls.
func (x *explorer) report(m *model, subjects []string, cut int) int {
	x.model, x.cut, x.calls, x.done = m, cut, 0, map[string]bool{}
	var batch []*queuedOutcome
	var names []string
	for _, s := range subjects {
		parsed, err := bus.Parse(s)
		if err != nil {
			x.t.Fatal(err)
		}
		data, err := proto.Marshal(m.waiting[s].outcome)
		if err != nil {
			x.t.Fatal(err)
		}
		message := bus.Message{Subject: parsed, RawSubject: s, Data: data, Redelivered: m.waiting[s].redelivered}
		before := false
		if message.Redelivered { // the bus asks
			if before, err = x.service.done(x.t.Context(), message); err != nil {
				x.t.Fatal(err)
			}
		}
		w, err := x.service.decode(x.t.Context(), message)
		if err != nil {
			x.t.Fatal(err)
		}
		if before || w == nil {
			delete(m.waiting, s)
			continue
		}
		batch, names = append(batch, w), append(names, s)
		x.done[w.subject.String()] = w.Outcome.CloseOuts[0].Status == tiebackv1.Status_STATUS_SUCCESS
	}
	waited := slices.Clone(batch)
	if len(batch) > 0 {
		x.service.reportAll(x.t.Context(), x.session, batch)
	}
	for i, w := range waited {
		if err := <-w.done; err == nil && cut == never {
			delete(m.waiting, names[i])
		} else if cut == never {
			x.violations = append(x.violations, fmt.Sprintf("%s could not be reported: %v", names[i], err))
		} else {
			m.waiting[names[i]] = &pendingOutcome{outcome: m.waiting[names[i]].outcome, redelivered: true}
		}
	}
	return x.calls
}

// steps returns all states that can follow.
func (x *explorer) steps(m *model) []*model {
	var next []*model
	step := func(name string, do func(*model)) {
		n := m.clone()
		n.path = append(n.path, name)
		do(n)
		next = append(next, n)
	}
	for r := int64(1); r <= int64(len(m.kinds)); r++ {
		if !m.processed[m.subject(bus.Event, r, "").String()] {
			step(fmt.Sprint("process ", r), func(n *model) { n.process(r, "") })
		}
		if s := m.subject(bus.Outcome, r, ""); !m.outcomes[s.String()] && len(m.expired) == 0 {
			step(fmt.Sprint("expire ", r), func(n *model) { n.expire(r) })
		}
		if m.expired[r] && !m.replayed[r] {
			step(fmt.Sprint("replay ", r), func(n *model) { n.replayed[r] = true; n.process(r, "1") })
		}
	}
	waiting := slices.Sorted(maps.Keys(m.waiting))
	var batches [][]string
	for _, s := range waiting {
		batches = append(batches, []string{s})
	}
	if len(waiting) > 1 {
		batches = append(batches, waiting)
	}
	for _, b := range batches {
		whole := m.clone()
		whole.path = append(whole.path, fmt.Sprint("report ", b))
		calls := x.report(whole, b, never)
		next = append(next, whole)
		for made := 0; m.crashes > 0 && made <= calls; made++ { // the answer of the last call is lost
			step(fmt.Sprint("report ", b, " and crash, ", made, " calls made"), func(n *model) {
				n.crashes--
				x.report(n, b, made-1)
			})
		}
	}
	return next
}

// checkFinal checks a state without further steps.
func (x *explorer) checkFinal(m *model) {
	for r := range m.details {
		if s := m.details[r]; s != "success" && s != "failed" {
			x.violations = append(x.violations, fmt.Sprintf("the button of request %d stays busy", r))
		}
	}
	for s := range m.outcomes {
		parsed, _ := bus.Parse(s)
		parsed.Kind = bus.Closed
		if !m.closed[parsed.String()] {
			x.violations = append(x.violations, s+" was never recorded")
		}
	}
	if m.mark != m.booked || m.link.OriginID != m.booked {
		x.violations = append(x.violations, fmt.Sprintf("the ERP has %q, Procore is marked with %q, the link has %q", m.booked, m.mark, m.link.OriginID))
	}
}

func TestInterleavings(t *testing.T) {
	// If the newer request has the lower id, only the comparison of requests differs, so one crash is enough.
	for _, c := range []struct {
		kinds   []string
		ids     []int64
		crashes int
	}{
		{[]string{"export", "export"}, []int64{1, 2}, crashes}, {[]string{"export", "export"}, []int64{2, 1}, 1},
		{[]string{"export", "unlink"}, []int64{1, 2}, crashes}, {[]string{"export", "unlink"}, []int64{2, 1}, 1},
		{[]string{"unlink", "export"}, []int64{1, 2}, crashes}, {[]string{"unlink", "export"}, []int64{2, 1}, 1},
	} {
		t.Run(fmt.Sprint(strings.Join(c.kinds, ", then "), " ", c.ids), func(t *testing.T) {
			t.Parallel()
			x := newExplorer(t)
			first := &model{
				kinds: c.kinds, ids: c.ids, crashes: c.crashes, details: map[int64]string{1: "in_progress", 2: "in_progress"}, did: map[int64]bool{}, processed: map[string]bool{},
				replayed: map[int64]bool{}, waiting: map[string]*pendingOutcome{}, expired: map[int64]bool{}, outcomes: map[string]bool{}, closed: map[string]bool{},
			}
			if slices.Contains(c.kinds, "unlink") {
				first.booked, first.mark, first.link = "V-0", "V-0", state.Link{OriginID: "V-0"}
			}
			seen, ends := map[string]bool{}, 0
			for todo := []*model{first}; len(todo) > 0; {
				m := todo[len(todo)-1]
				todo = todo[:len(todo)-1]
				next := x.steps(m)
				if len(next) == 0 {
					ends++
					x.checkFinal(m)
				}
				for _, n := range next {
					if k := n.key(); !seen[k] {
						seen[k] = true
						todo = append(todo, n)
					}
				}
				if len(x.violations) > 0 {
					t.Fatalf("%s\nafter\n  %s\n(or a step from there)", strings.Join(x.violations, "\n"), strings.Join(m.path, "\n  "))
				}
			}
			t.Logf("%d states, %d ends", len(seen), ends)
			if least := 9 * (c.crashes + 1); ends < least {
				t.Errorf("%d ends, less than %d: the model does not move", ends, least)
			}
		})
	}
}

func newExplorer(t *testing.T) *explorer {
	x := &explorer{t: t, model: &model{}, cut: never}
	set, err := company.Parse([]byte("companies: [{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: x}}]"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := procore.New(procore.Config{APIURL: "http://procore.test", LoginURL: "http://procore.test", Transport: x}, set, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if x.session, err = client.Company(modelCompany); err != nil {
		t.Fatal(err)
	}
	x.service = &Service{Deps: Deps{Log: zap.NewNop()}, store: x, closeOuts: newCloseOutCounter(), closeOutSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "s"}, []string{"type"})}
	return x
}
