package notify

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/company"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// hook is an HTTP receiver.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	status int
}

func newHook(t *testing.T) *hook {
	h := &hook{status: http.StatusOK}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.status == http.StatusOK {
			h.bodies = append(h.bodies, string(raw))
		}
		w.WriteHeader(h.status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bodies...)
}

func (h *hook) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

// mailServer is an SMTP server on loopback. It returns its address and the mails that it accepts.
func mailServer(t *testing.T) (addr string, mails chan string) { return mailServerTLS(t, nil) }

// mailServerTLS is mailServer with STARTTLS, unless config is nil. Then the login is refused before it.
func mailServerTLS(t *testing.T, config *tls.Config) (addr string, mails chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mails = make(chan string, 10)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer func() { _ = c.Close() }(); converse(c, config, mails) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	return l.Addr().String(), mails
}

func converse(c net.Conn, config *tls.Config, mails chan<- string) {
	in := bufio.NewScanner(c)
	say := func(line string) { fmt.Fprint(c, line+"\r\n") }
	say("220 test")
	var envelope strings.Builder
	for in.Scan() {
		switch verb, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); verb {
		case "EHLO":
			say("250-test")
			if config != nil {
				say("250 STARTTLS")
				continue
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, config)
			in, config = bufio.NewScanner(c), nil
			envelope.WriteString("STARTTLS\n")
		case "AUTH", "MAIL", "RCPT":
			envelope.WriteString(in.Text() + "\n")
			say(map[bool]string{true: "235 ok", false: "250 ok"}[verb == "AUTH"])
		case "DATA":
			say("354 go on")
			for in.Scan() && in.Text() != "." {
				envelope.WriteString(in.Text() + "\n")
			}
			mails <- envelope.String()
			say("250 stored")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 unknown")
		}
	}
}

// rig is a notifier of one company, with a clock that the test sets.
type rig struct {
	*testing.T
	*Notifier
	now      time.Time
	overview *operatorv1.Overview
	rows     []*operatorv1.RequestRow
	logs     *observer.ObservedLogs
	indexed  *timestamppb.Timestamp // nil: the index is being built
}

func newRig(t *testing.T, config string) *rig {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "notify.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	r := &rig{T: t, now: time.Date(2026, 11, 30, 6, 0, 0, 0, zone), overview: &operatorv1.Overview{}, logs: logs, indexed: timestamppb.Now()}
	r.Notifier = &Notifier{
		Config: c, File: filepath.Join(dir, "digests.json"), Log: zap.New(core), Companies: company.Set{7: {ID: 7, Name: "Acme", Zone: zone}, 8: {ID: 8, Zone: zone}},
		Overview: func(context.Context) (*operatorv1.Overview, error) { return r.overview, nil },
		Requests: func(_ context.Context, ask *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error) {
			page := &operatorv1.ListRequestsResponse{IndexedUntil: r.indexed}
			for _, row := range r.rows {
				if row.CompanyId == ask.CompanyIds[0] && !row.Created.AsTime().Before(ask.Since.AsTime()) {
					page.Requests = append(page.Requests, row)
				}
			}
			return page, nil
		},
	}
	r.must(r.open())
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// after lets time pass and looks.
func (r *rig) after(d time.Duration) {
	r.now = r.now.Add(d)
	r.look(r.Context(), r.now)
}

func (r *rig) needs(kind string, company int64, count uint64) {
	r.overview.Attention = append(r.overview.Attention, &operatorv1.Attention{Kind: kind, CompanyId: company, Text: kind + " <fails>", Action: &operatorv1.Action{Text: "look", Page: "/companies/7", Command: "tieback doctor"}, Count: count})
}

// secretFile writes a secret and returns its path.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *rig) expect(h *hook, n int, why string) {
	r.Helper()
	if got := h.got(); len(got) != n {
		r.Fatalf("%s: %d messages, want %d: %v", why, len(got), n, got)
	}
}

// A message waits until something has lasted, has all that is new, and is the only one of its interval.
func TestAttentionIsGroupedAndLimited(t *testing.T) {
	h := newHook(t)
	r := newRig(t, fmt.Sprintf("console_url: https://c.test\nreceivers: [{name: ops, sends: [attention], webhook: {url_file: %s}}]", secretFile(t, h.URL+"/secret-path")))
	r.needs("erp", 7, 0)
	r.needs("dead-letters", 0, 2)
	r.after(0)
	r.expect(h, 0, "at once")
	r.after(2 * time.Minute)
	r.expect(h, 1, "after two minutes")
	var m message
	r.must(json.Unmarshal([]byte(h.got()[0]), &m))
	if len(m.Items) != 2 || m.Items[1].Text != "Acme: erp <fails>" || m.Items[1].Company != "7" || m.Items[1].Action != "look" || m.Items[1].Link != "https://c.test/companies/7" || strings.Contains(h.got()[0], "doctor") || m.Link != "https://c.test" {
		t.Errorf("the message is %s", h.got()[0])
	}
	r.overview.Attention[1].Count = 3
	r.needs("queue", 0, 0)
	r.after(5 * time.Minute)
	r.expect(h, 1, "within half an hour")
	r.after(30 * time.Minute)
	r.expect(h, 2, "after half an hour")
	r.must(json.Unmarshal([]byte(h.got()[1]), &m))
	if len(m.Items) != 2 {
		t.Errorf("more dead letters and a queue are new, but the message is %s", h.got()[1])
	}
	r.after(time.Hour)
	r.expect(h, 2, "nothing new")
	r.after(24 * time.Hour)
	r.expect(h, 3, "a day later")
	r.overview.Attention = nil
	r.after(time.Hour)
	r.needs("erp", 7, 0)
	r.after(time.Minute)
	r.expect(h, 3, "again, but not for two minutes")
	r.after(2 * time.Minute)
	r.expect(h, 4, "again")
}

// A receiver of one company gets nothing about others.
func TestReceiverOfOneCompany(t *testing.T) {
	h := newHook(t)
	r := newRig(t, fmt.Sprintf("receivers: [{name: seven, sends: [attention], companies: [7], slack: {url_file: %s}}]", secretFile(t, h.URL)))
	r.needs("erp", 8, 0)
	r.needs("broker", 0, 0)
	r.after(0)
	r.after(time.Hour)
	r.expect(h, 0, "another company")
	r.needs("procore", 7, 0)
	r.after(0)
	r.after(time.Hour)
	r.expect(h, 1, "its company")
	if got := h.got()[0]; !strings.Contains(got, "Acme: procore \\u0026lt;fails\\u0026gt;") || strings.Contains(got, "erp") {
		t.Errorf("Slack got %s", got)
	}
}

// A failed receiver is left alone for five minutes, gets the message then, and the log has no secret.
func TestFailedReceiverIsTriedAgain(t *testing.T) {
	h := newHook(t)
	r := newRig(t, fmt.Sprintf("receivers: [{name: ops, sends: [attention], webhook: {url_file: %s}}]", secretFile(t, h.URL+"/secret-path")))
	r.needs("erp", 7, 0)
	r.after(0)
	h.answer(http.StatusInternalServerError)
	r.after(2 * time.Minute)
	h.answer(http.StatusOK)
	r.after(time.Minute)
	r.expect(h, 0, "a minute after the failure")
	r.after(5 * time.Minute)
	r.expect(h, 1, "later")
	h.Close()
	r.after(25 * time.Hour)
	if warnings := r.logs.FilterLevelExact(zap.WarnLevel).All(); len(warnings) != 2 {
		t.Errorf("%d warnings, want one per failure", len(warnings))
	}
	for _, line := range r.logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, "secret-path") {
			t.Errorf("the log has the URL: %s", text)
		}
	}
}

// The digest is a mail per day in the company's time zone, with the reasons of the failed exports. A restart sends none again.
func TestDigestByMail(t *testing.T) {
	addr, mails := mailServer(t)
	r := newRig(t, fmt.Sprintf("console_url: https://c.test\nreceivers: [{name: acme, sends: [digest], mail: {server: %q, from: Tieback <t@c.test>, to: [a@acme.test, b@acme.test], username: u, password_file: %s}}]", addr, secretFile(t, "pass-word-1")))
	row := func(company, request int64, age time.Duration, record, reason string) {
		at := timestamppb.New(r.now.Add(-age))
		r.rows = append(r.rows, &operatorv1.RequestRow{CompanyId: company, RequestId: request, Type: "create_vendor", Record: record, Reason: reason, Created: at, Ended: at})
	}
	row(7, 1, time.Hour, `vendor "Ärger & Söhne"`, "The tax id is missing. Add it to the vendor and export it again.\r\n.\r\nBcc: x")
	row(7, 2, 48*time.Hour, "old", "old")
	r.after(59 * time.Minute)
	r.indexed = nil
	r.after(2 * time.Minute) // 7:01
	if len(mails) > 0 {
		t.Fatalf("a digest of an index that is being built: %s", <-mails)
	}
	r.indexed = timestamppb.Now()
	r.after(time.Hour)
	again := newRig(t, fmt.Sprintf("receivers: [{name: acme, sends: [digest], mail: {server: %q, from: t@c.test, to: [a@acme.test]}}]", addr))
	again.File, again.rows, again.now = r.File, r.rows, r.now
	again.must(again.open())
	again.after(time.Minute)
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	sent := <-mails
	head, body, _ := strings.Cut(sent, "\n\n")
	raw, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	r.must(err)
	for _, want := range []string{"MAIL FROM:<t@c.test>", "RCPT TO:<a@acme.test>", "RCPT TO:<b@acme.test>", "Subject: Tieback: Acme: 1 export failed in the last 24 hours"} {
		if !strings.Contains(head, want) {
			t.Errorf("the head has no %s:\n%s", want, head)
		}
	}
	for _, want := range []string{`- vendor "Ärger & Söhne": The tax id is missing. Add it to the vendor and export it again. . Bcc: x`, "https://c.test/requests?state=failed&company=7", "export it again in Procore"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the body has no %s:\n%s", want, raw)
		}
	}
	for _, line := range r.logs.All() {
		if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), "pass-word-1") {
			t.Errorf("the log has the password: %v", line)
		}
	}
}

// Mail goes over STARTTLS, and the login only after it. A server whose certificate is not trusted gets neither the password nor the
// mail.
func TestMailOverSTARTTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	addr, mails := mailServerTLS(t, web.TLS)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "receivers: [{name: ops, sends: [attention], mail: {server: %q, from: t@c.test, to: [a@acme.test], username: u, password_file: %s%s}}]"
	password := secretFile(t, "pass-word-1")
	for trusted, more := range map[bool]string{false: "", true: ", ca_file: " + ca} {
		r := newRig(t, fmt.Sprintf(config, addr, password, more))
		r.needs("erp", 7, 0)
		r.after(0)
		r.after(time.Hour)
		if (len(mails) == 1) != trusted {
			t.Fatalf("trusted %v: %d mails; %v", trusted, len(mails), r.logs.All())
		}
	}
	if sent := <-mails; !strings.HasPrefix(sent, "STARTTLS\nAUTH PLAIN ") || !strings.Contains(sent, "Acme: erp <fails>") {
		t.Errorf("the mail is %s", sent)
	}
}

// A changed file applies when two looks have found it. A file with a mistake is logged once and not used.
func TestFileIsReread(t *testing.T) {
	h := newHook(t)
	receiver := fmt.Sprintf("receivers: [{name: ops, sends: [attention], slack: {url_file: %s}, companies: ", secretFile(t, h.URL))
	r := newRig(t, receiver+"[8]}]")
	r.Path = filepath.Join(t.TempDir(), "notify.yaml")
	look := func(content string) {
		r.must(os.WriteFile(r.Path, []byte(content), 0o600))
		r.reread()
		r.after(time.Hour)
	}
	r.needs("erp", 7, 0)
	look(receiver + "[8]}]")
	look(receiver + "[7]}]")
	r.expect(h, 0, "the first look after the change")
	look("receivers: [")
	look("receivers: [")
	r.expect(h, 0, "a mistake")
	if n := r.logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
		t.Errorf("the mistake was logged %d times", n)
	}
	look(receiver + "[7]}]")
	look(receiver + "[7]}]")
	r.expect(h, 1, "the second look after the change")
}

// A mistake names the receiver and the field, and no secret.
func TestMistakes(t *testing.T) {
	http := secretFile(t, "http://hooks.example.com/secret-path")
	for config, want := range map[string]string{
		"receivers: []": "receivers: is missing",
		"receivers: [{name: a, sends: [all], slack: {url_file: " + http + "}}]":       "sends: must list",
		"receivers: [{name: a, sends: [digest], slack: {url_file: " + http + "}}]":    "has no https:// URL",
		"receivers: [{name: a, sends: [digest]}]":                                     "exactly one of",
		"receivers: [{name: a, sends: [digest], mail: {server: x, from: a, to: []}}]": "server: must be host:port",
		"digest: noon\nreceivers: []":                                                 "digest: must be a time of day",
		"unknown: 1":                                                                  "unknown",
	} {
		path := filepath.Join(t.TempDir(), "notify.yaml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("%s: %v, want %s", config, err, want)
		}
	}
}
