package endtoend

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// shapes has the three formats of a delivery.
var shapes = map[string]func(company, request int64) string{
	"v2.0": func(company, request int64) string {
		return fmt.Sprintf(`{"id":1,"ulid":"01JD","event_type":"create","resource_name":"ERP Requests","resource_id":%d,"company_id":%d,"project_id":null,"user_id":5,"timestamp":"2026-11-23T10:00:00Z","api_version":"v2.0","metadata":{}}`, request, company)
	},
	"v3.0": func(company, request int64) string {
		return fmt.Sprintf(`{"id":1,"ulid":"01JD","event_type":"create","resource_name":"ERP Requests","resource_id":%d,"company_id":%d,"project_id":null,"user_id":5,"timestamp":"2026-11-23T10:00:00Z","metadata":{},"related_resources":[{"id":%d,"name":"Company"}]}`, request, company, company)
	},
	"v4.0": func(company, request int64) string {
		return fmt.Sprintf(`{"id":"01JD","reason":"create","resource_type":"ERP Requests","resource_id":"%d","company_id":"%d","project_id":null,"user_id":"5","timestamp":"2026-11-23T10:00:00Z"}`, request, company)
	},
}

// deliver posts a delivery and returns the status and the body of the answer; 0: no answer.
func (w *world) deliver(company int64, token, body string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // Procore's timeout
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.webhook(company), strings.NewReader(body))
	if err != nil {
		w.Error(err)
		return 0, ""
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

var date = regexp.MustCompile(`(?m)^Date: .*$`)

// wire sends a delivery over TCP and returns the answer without its date.
func (w *world) wire(path, token, body string) string {
	w.Helper()
	c, err := net.Dial("tcp", w.front.Addr().String())
	w.must(err)
	defer c.Close()
	authorization := ""
	if token != "" {
		authorization = "Authorization: Bearer " + token + "\r\n"
	}
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: tieback\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", path, authorization, len(body), body)
	w.must(err)
	answer, err := io.ReadAll(c)
	w.must(err)
	return date.ReplaceAllString(string(answer), "Date:")
}

func TestUnknownCompanyLooksLikeWrongToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	w.run()
	const stranger = firstCompany + 999
	body := shapes["v2.0"](firstCompany, 1)
	wrong := w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(firstCompany)), "wrong", body)
	if !strings.HasPrefix(wrong, "HTTP/1.1 401 ") {
		t.Fatalf("a wrong token is answered %q", wrong)
	}
	for name, got := range map[string]string{
		"unknown company":                     w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(stranger)), "wrong", body),
		"unknown company with a known token":  w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(stranger)), w.token, body),
		"a company that is no number":         w.wire("/webhooks/procore/acme", w.token, body),
		"no token":                            w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(firstCompany)), "", body),
		"no token of an unknown company":      w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(stranger)), "", body),
		"wrong token and a body that is none": w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(firstCompany)), "wrong", "{"),
		"the start of the token":              w.wire(fmt.Sprintf("/webhooks/procore/%d", int64(firstCompany)), w.token[:5], body),
	} {
		if got != wrong {
			t.Errorf("%s is answered\n%q\na wrong token\n%q", name, got, wrong)
		}
	}
}

func TestIngestAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true, tokens: []string{"second-token-while-rotating"}})
	l := w.run()
	const request = 9007199254740999
	good := shapes["v2.0"](firstCompany, request)
	for _, c := range []struct{ name, token, body, want string }{
		{"too large", w.token, good + strings.Repeat(" ", 300<<10), "413 malformed: A delivery has at most"},
		{"not JSON", w.token, "delivery", "400 malformed: the body is not a delivery in JSON"},
		{"empty", w.token, "", "400 malformed: the body is not a delivery in JSON"},
		{"cut off", w.token, good[:40], "400 malformed: the body is not a delivery in JSON"},
		{"no resource id", w.token, strings.ReplaceAll(good, "resource_id", "resource"), "400 malformed: resource_id is missing"},
		{"no company id", w.token, strings.ReplaceAll(good, `"company_id"`, `"company"`), "400 malformed: company_id is missing"},
		{"another company's", w.token, shapes["v4.0"](firstCompany+1, request), "400 malformed: the delivery is of company"},
		{"an id beyond 64 bits", w.token, strings.ReplaceAll(good, fmt.Sprint(int64(request)), "99999999999999999999"), "400 malformed: resource_id must be"},
		{"another resource", w.token, strings.ReplaceAll(good, "ERP Requests", "Projects"), "200 other:"},
		{"another reason", w.token, strings.ReplaceAll(good, `"create"`, `"update"`), "200 other:"},
	} {
		status, answer := w.deliver(firstCompany, c.token, c.body)
		if got := fmt.Sprint(status, " ", answer); !strings.HasPrefix(got, c.want) || strings.Count(answer, "\n") != 1 {
			t.Errorf("%s is answered %q, want %q", c.name, got, c.want)
		}
	}
	for path, want := range map[string]int{fmt.Sprintf("/webhooks/procore/%d", int64(firstCompany)): 405, "/webhooks/procore/acme": 405, "/webhooks": 404} {
		answer, err := http.Get("http://" + w.front.Addr().String() + path)
		w.must(err)
		w.must(answer.Body.Close())
		if allow := answer.Header.Get("Allow"); answer.StatusCode != want || (allow == "POST") != (want == 405) {
			t.Errorf("GET %s is answered %d, Allow %q, want %d", path, answer.StatusCode, allow, want)
		}
	}
	if n := len(l.messages(bus.Delivery)); n != 0 {
		t.Errorf("%d deliveries stored, want none", n)
	}
	for i, token := range []string{w.token, "second-token-while-rotating"} {
		if status, answer := w.deliver(firstCompany, token, shapes["v3.0"](firstCompany, request+int64(i))); status != 200 {
			t.Errorf("token %d of a rotation is answered %d %s", i+1, status, answer)
		}
	}
	if n := len(l.messages(bus.Delivery)); n != 2 {
		t.Errorf("%d deliveries stored, want 2", n)
	}
}

// Procore may deliver a webhook several times; it is booked once.
func TestDuplicateDeliveriesAreOneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.run()
	request := w.press("create_vendor")
	answers := map[string]int{}
	var mu sync.Mutex
	burst := func() {
		var all sync.WaitGroup
		for range 8 {
			for _, shape := range shapes {
				all.Go(func() {
					status, answer := w.deliver(firstCompany, w.token, shape(firstCompany, request))
					mu.Lock()
					defer mu.Unlock()
					answers[strings.Fields(fmt.Sprint(status, " ", answer) + " ")[1]]++
				})
			}
		}
		all.Wait()
	}
	burst()
	w.succeeded(request)
	burst() // after it is closed
	l.stop()
	l = w.run()
	burst() // and after a restart
	if answers["accepted:"] != 1 || answers["duplicate:"] != 3*24-1 {
		t.Errorf("answers %v, want one accepted and %d duplicates", answers, 3*24-1)
	}
	for kind, n := range map[bus.Kind]int{bus.Delivery: 1, bus.Event: 1, bus.Outcome: 1, bus.Closed: 1, bus.Dead: 0} {
		if got := len(l.messages(kind)); got != n {
			t.Errorf("%d messages in %s, want %d", got, kind.Stream(), n)
		}
	}
	if n := w.sandbox.Counts()["GET /rest/v1.0/companies/{company_id}/erp_requests/{id}"]; n != 1 {
		t.Errorf("the request was read %d times", n)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != 1 {
		t.Errorf("%d vendors in the books", booked)
	}
}

// Without a broker, ingest answers 503 within Procore's timeout. Each delivery that was answered 200 is on disk.
func TestDeliveryIsAcknowledgedOnlyIfStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.runOnBroker()
	for _, eventType := range []string{"create_vendor", "sync_vendors", "link_vendor", "unlink_vendor", "delete_standard_categories"} {
		request := w.press(eventType) // one of each category, so that all consumers run
		w.deliver(firstCompany, w.token, shapes["v2.0"](firstCompany, request))
		w.wait(request)
	}
	var mu sync.Mutex
	promised := map[int64]bool{}
	refused := 0
	post := func(request int64) {
		start := time.Now()
		status, answer := w.deliver(firstCompany, w.token, shapes["v2.0"](firstCompany, request))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case status == 200:
			promised[request] = true
		case status == 503 && time.Since(start) < 5*time.Second:
			refused++
		default:
			t.Errorf("answered %d after %v: %s", status, time.Since(start), answer)
		}
	}
	var all sync.WaitGroup
	half := make(chan struct{})
	for i := range 200 { // the broker stops in the middle of these
		all.Go(func() {
			if i == 100 {
				close(half)
			}
			post(int64(i + 1))
		})
	}
	<-half
	l.broker.Close()
	all.Wait()
	before, refusedBefore := len(promised), refused
	for i := range 20 {
		all.Go(func() { post(int64(1000 + i)) })
	}
	all.Wait()
	if len(promised) != before || refused != refusedBefore+20 {
		t.Errorf("without a broker, %d of 20 answers were 200 and %d 503", len(promised)-before, refused-refusedBefore)
	}
	l.stop()
	l = w.run()
	var stored []int64
	for _, m := range l.messages(bus.Delivery) {
		s, err := bus.Parse(m.Subject)
		w.must(err)
		stored = append(stored, s.Request)
	}
	for request := range promised {
		if !slices.Contains(stored, request) {
			t.Errorf("delivery %d was answered 200 and is not on disk", request)
		}
	}
	t.Logf("%d answered 200, %d answered 503, %d on disk", len(promised), refused, len(stored))
}
