package statusreporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// records is a read-only store: messages by subject.
type records map[string]proto.Message

func (n records) Last(_ context.Context, s bus.Subject) (bus.Message, bool, error) {
	for key, m := range n {
		of, err := bus.Parse(key)
		if err != nil {
			return bus.Message{}, false, err
		}
		same := of.Kind == s.Kind && of.Company == s.Company && of.Request == s.Request
		if same && (s.Type == "*" || s.Type == of.Type) && (s.Run == of.Run || s.Run == "*" && of.Run != "") {
			data, err := proto.Marshal(m)
			return bus.Message{Subject: of, RawSubject: key, Data: data}, true, err
		}
	}
	return bus.Message{}, false, nil
}

func (n records) Has(ctx context.Context, s bus.Subject) (bool, error) {
	_, has, err := n.Last(ctx, s)
	return has, err
}

func (records) PublishOnce(context.Context, bus.Subject, proto.Message) error {
	return errors.New("read only")
}

func (records) Link(context.Context, int64, string, int64) (state.Link, error) {
	return state.Link{}, errors.New("read only")
}

func (records) SaveLink(context.Context, int64, string, int64, state.Link) error {
	return errors.New("read only")
}

const (
	good = tiebackv1.Status_STATUS_SUCCESS
	bad  = tiebackv1.Status_STATUS_FAILED
)

// An outcome may have only what its subject allows. A stolen key of a worker can send each of the refused ones.
func TestAdmit(t *testing.T) {
	event := func(request int64, details string) proto.Message {
		return &tiebackv1.Event{CompanyId: 7, ErpRequestId: request, Payload: []byte(details)}
	}
	closed := func(request int64, all ...*tiebackv1.CloseOut) proto.Message {
		return &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: request, CloseOuts: all}
	}
	s := &Service{store: records{
		"tb.event.export.create_vendor.7.1":    event(1, `{"request_data":{"request_detail_id":11}}`),
		"tb.event.export.create_vendor.7.2.42": event(2, `{"request_detail_id":12}`),
		"tb.event.export.create_budget.7.1":    event(1, `{"request_detail_id":11}`),
		"tb.event.unlink.unlink_vendor.7.3":    event(3, `{"request_detail_id":13}`),
		"tb.closed.export.create_budget.7.4":   closed(4, &tiebackv1.CloseOut{Status: good}),
		"tb.closed.export.create_budget.7.5":   closed(5, &tiebackv1.CloseOut{Status: good}, &tiebackv1.CloseOut{Status: bad}),
		"tb.closed.export.create_budget.7.6":   closed(6, &tiebackv1.CloseOut{Status: good}),
		"tb.closed.export.create_budget.7.6.8": closed(6, &tiebackv1.CloseOut{Status: bad}),
	}}
	mark := func(itemType, origin string) *tiebackv1.CloseOut {
		return &tiebackv1.CloseOut{Status: good, Marks: []*tiebackv1.Mark{{ItemType: itemType, ItemId: 5, OriginId: origin}}}
	}
	link := func(itemType, origin string) *tiebackv1.CloseOut {
		return &tiebackv1.CloseOut{Status: good, Links: []*tiebackv1.Link{{ItemType: itemType, ItemId: 5, OriginId: origin}}}
	}
	unlink := func(itemType string) *tiebackv1.CloseOut {
		return &tiebackv1.CloseOut{Status: good, Unlinks: []*tiebackv1.Unlink{{ItemType: itemType, ItemId: 5}}}
	}
	assigns := &tiebackv1.CloseOut{Status: good, Assignments: []*tiebackv1.Assignment{{ProjectId: 1}}}
	moves := &tiebackv1.CloseOut{Status: good, BudgetTransactions: []*tiebackv1.BudgetTransaction{{Id: 1}}}
	detail := func(status tiebackv1.Status, id int64) *tiebackv1.CloseOut {
		return &tiebackv1.CloseOut{Status: status, RequestDetailId: id}
	}
	failing := func(c *tiebackv1.CloseOut) *tiebackv1.CloseOut {
		c = proto.Clone(c).(*tiebackv1.CloseOut)
		c.Status = bad
		return c
	}
	for _, c := range []struct {
		name, subject, kind string
		closeOut            *tiebackv1.CloseOut
		want                string // the error; "": admitted
	}{
		{"failed, of no type", "_._.7.1", "_", detail(bad, 11), ""},
		{"failed, of no type, in a replay", "_._.7.1.42", "_", detail(bad, 11), ""},
		{"success, of no type", "_._.7.1", "_", detail(good, 11), "success of an event of unknown type"},
		{"success, of no type and detail", "_._.7.1", "_", detail(good, 0), "success of an event of unknown type"},
		{"a mark, of no type", "_._.7.1", "_", failing(mark("vendor", "V-666")), `marks a "vendor"`},
		{"a mark as not synced, of no type", "_._.7.1", "_", failing(mark("vendor", "")), `marks a "vendor"`},
		{"a link, of no type", "_._.7.1", "_", failing(link("vendor", "V-666")), `links a "vendor"`},
		{"the end of a link, of no type", "_._.7.1", "_", failing(link("vendor", "")), `removes the link of a "vendor"`},
		{"an unlink, of no type", "_._.7.1", "_", failing(unlink("vendor")), `unlinks a "vendor"`},
		{"an assignment, of no type", "_._.7.1", "_", failing(assigns), "cost type assignment"},
		{"a transaction, of no type", "_._.7.1", "_", failing(moves), "budget transaction"},

		{"swept, after all was done", "_._.7.4.swept", "_", detail(good, 14), ""},
		{"swept, after a part failed", "_._.7.5.swept", "_", detail(good, 15), "an earlier report of the request"},
		{"swept, after a replay failed", "_._.7.6.swept", "_", detail(good, 16), "an earlier report of the request"},
		{"swept, never reported", "_._.7.1.swept", "_", detail(good, 11), "the request has no report"},
		{"swept, with a mark", "_._.7.4.swept", "_", mark("vendor", "V-666"), "success of an event"},
		{"swept and failed", "_._.7.5.swept", "_", detail(bad, 15), ""},

		{"its own mark", "export.create_vendor.7.1", "create_vendor", mark("vendor", "V-1"), ""},
		{"its own mark, of a line without an origin id", "export.create_vendor.7.1", "create_vendor", mark("vendor", ""), ""},
		{"a mark of another type", "export.create_vendor.7.1", "create_vendor", mark("contract_payment", "P-666"), `marks a "contract_payment"`},
		{"a mark of another type beside a failure", "export.create_vendor.7.1", "create_vendor", failing(mark("project", "")), `marks a "project"`},
		{"an unlink in an export", "export.create_vendor.7.1", "create_vendor", unlink("vendor"), `unlinks a "vendor"`},
		{"a link in an export", "export.create_vendor.7.1", "create_vendor", link("vendor", "V-666"), `links a "vendor"`},
		{"the end of a link in an export", "export.create_vendor.7.1", "create_vendor", link("vendor", ""), ""},
		{"a link of another item type", "import.link_vendor.7.1", "link_vendor", link("project", "J-666"), `links a "project"`},
		{"its own link", "import.link_vendor.7.1", "link_vendor", link("vendor", "V-1"), ""},
		{"a mark in an import", "import.link_vendor.7.1", "link_vendor", mark("vendor", "V-666"), `marks a "vendor"`},
		{"a mark in a sync", "sync.sync_vendors.7.1", "sync_vendors", mark("vendor", "V-666"), `marks a "vendor"`},
		{"a mark in an unlink", "unlink.unlink_payment_application.7.1", "unlink_payment_application", mark("payment_application_line_item", "L-666"), "marks a"},
		{"its lines in an unlink", "unlink.unlink_payment_application.7.1", "unlink_payment_application", mark("payment_application_line_item", ""), ""},
		{"an assignment in a vendor's export", "export.create_vendor.7.1", "create_vendor", assigns, "cost type assignment"},
		{"a transaction in a vendor's export", "export.create_vendor.7.1", "create_vendor", moves, "budget transaction"},
		{"a transaction in a budget's", "export.create_budget.7.1", "create_budget", moves, ""},

		{"another type in the body", "export.create_vendor.7.1", "create_payment", detail(bad, 11), "differ from its subject"},
		{"no type in the body", "export.create_vendor.7.1", "_", detail(bad, 11), "differ from its subject"},
		{"a type in the body alone", "_._.7.1", "create_vendor", detail(bad, 11), "differ from its subject"},
		{"no end", "export.create_vendor.7.1", "create_vendor", detail(tiebackv1.Status_STATUS_IN_PROGRESS, 11), "which is not final"},
		{"no status", "export.create_vendor.7.1", "create_vendor", detail(0, 11), "which is not final"},
		{"a kept status", "export.create_vendor.7.1", "create_vendor", &tiebackv1.CloseOut{Status: bad, RequestDetailId: 11, KeptStatus: "success"}, "only the status-reporter"},

		{"its own request detail", "export.create_vendor.7.1", "create_vendor", detail(good, 11), ""},
		{"its own, late", "export.create_vendor.7.1.late", "create_vendor", detail(good, 11), ""},
		{"its own, of a replay", "export.create_vendor.7.2.42", "create_vendor", detail(good, 12), ""},
		{"its own, late in a replay", "export.create_vendor.7.2.42-late", "create_vendor", detail(good, 12), ""},
		{"its own, of a replayed outcome", "export.create_vendor.7.2.43", "create_vendor", detail(good, 12), ""},
		{"another's request detail", "export.create_vendor.7.1", "create_vendor", detail(good, 13), "request details [13]"},
		{"another's request", "export.create_vendor.7.3", "create_vendor", detail(good, 13), "request details [13]"},
		{"another category's request, failed", "export.create_vendor.7.3", "create_vendor", detail(bad, 13), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject, err := bus.Parse("tb.outcome." + c.subject)
			if err != nil {
				t.Fatal(err)
			}
			data, err := proto.Marshal(&tiebackv1.Outcome{CompanyId: 7, ErpRequestId: subject.Request, Type: c.kind, CloseOuts: []*tiebackv1.CloseOut{c.closeOut}})
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.decode(t.Context(), bus.Message{Subject: subject, RawSubject: subject.String(), Data: data})
			switch {
			case c.want == "" && (err != nil || w == nil):
				t.Errorf("not admitted: %v", err)
			case c.want != "" && (err == nil || w != nil || fault.ClassOf(err) != fault.Permanent || fault.CauseOf(err) != fault.Tieback || !strings.Contains(fmt.Sprint(err), c.want)):
				t.Errorf("opened %v, error %v; want a permanent one of ours: %s", w, err, c.want)
			}
		})
	}
}

// An outcome whose company or request differs from its subject's is refused.
func TestAdmitRefusesOtherCompanyAndRequest(t *testing.T) {
	subject := bus.For(bus.Outcome, "create_vendor", 7, 1)
	for _, o := range []*tiebackv1.Outcome{{CompanyId: 8, ErpRequestId: 1}, {CompanyId: 7, ErpRequestId: 2}} {
		o.Type = "create_vendor"
		data, err := proto.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		s := &Service{store: records{}}
		if w, err := s.decode(t.Context(), bus.Message{Subject: subject, RawSubject: subject.String(), Data: data}); w != nil || fault.ClassOf(err) != fault.Permanent {
			t.Errorf("%v: opened %v, error %v", o, w, err)
		}
		if err := s.admit(t.Context(), bus.Message{Subject: subject}, o); fault.ClassOf(err) != fault.Permanent {
			t.Errorf("%v: error %v", o, err)
		}
	}
}

// A replica that lags behind does not have the event of an outcome yet. An outcome that Procore does not confirm is refused only
// after a minute.
func TestOutcomeWithoutEventIsRefusedAfterAMinute(t *testing.T) {
	client, _ := requestInProcore(t, `{"id": 1, "request_name": "create_vendor", "request_data": {"request_detail_id": 12}}`)
	s := &Service{Deps: Deps{Procore: client}, store: records{}}
	for _, of := range []struct {
		subject string
		outcome *tiebackv1.Outcome
	}{
		{"tb.outcome.export.create_vendor.7.1", &tiebackv1.Outcome{Type: "create_vendor"}},
		{"tb.outcome._._.7.1.swept", &tiebackv1.Outcome{}},
	} {
		subject, err := bus.Parse(of.subject)
		if err != nil {
			t.Fatal(err)
		}
		of.outcome.CompanyId, of.outcome.ErpRequestId = 7, 1
		of.outcome.CloseOuts = []*tiebackv1.CloseOut{{RequestDetailId: 11, Status: good}}
		for age, want := range map[time.Duration]fault.Class{time.Second: fault.Transient, time.Hour: fault.Permanent} {
			m := bus.Message{Subject: subject, Stored: time.Now().Add(-age)}
			if err := s.admit(t.Context(), m, of.outcome); fault.ClassOf(err) != want {
				t.Errorf("%s, %s old: %v; want a %s error", of.subject, age, err, want)
			}
		}
	}
}

// If the request has an event of another type, the outcome is refused at once, because no replica lags behind.
func TestOutcomeOfAnotherTypeIsRefusedAtOnce(t *testing.T) {
	s := &Service{store: records{"tb.event.export.create_vendor.7.1": &tiebackv1.Event{CompanyId: 7, ErpRequestId: 1}}}
	subject, err := bus.Parse("tb.outcome.unlink.unlink_vendor.7.1")
	if err != nil {
		t.Fatal(err)
	}
	o := &tiebackv1.Outcome{Type: "unlink_vendor", CompanyId: 7, ErpRequestId: 1, CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 11, Status: good}}}
	if err := s.admit(t.Context(), bus.Message{Subject: subject, Stored: time.Now()}, o); fault.ClassOf(err) != fault.Permanent {
		t.Errorf("%v; want a permanent error", err)
	}
}

// lagging is a stream whose replicas differ: the first reads are answered by one that has no message yet.
type lagging struct {
	records
	misses int
}

func (l *lagging) Last(ctx context.Context, s bus.Subject) (bus.Message, bool, error) {
	if l.misses--; l.misses >= 0 {
		return bus.Message{}, false, nil
	}
	return l.records.Last(ctx, s)
}

// Each read of an outcome's event may be answered by another replica. A valid outcome is admitted or retried, whichever of
// them lag behind.
func TestOutcomeIsNotRefusedForReplicasThatDiffer(t *testing.T) {
	subject, err := bus.Parse("tb.outcome.export.create_vendor.7.1")
	if err != nil {
		t.Fatal(err)
	}
	event := &tiebackv1.Event{CompanyId: 7, ErpRequestId: 1, Payload: []byte(`{"request_data": {"request_detail_id": 11}}`)}
	o := &tiebackv1.Outcome{Type: "create_vendor", CompanyId: 7, ErpRequestId: 1, CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 11, Status: good}}}
	for misses := range 5 {
		s := &Service{store: &lagging{records{"tb.event.export.create_vendor.7.1": event}, misses}}
		if err := s.admit(t.Context(), bus.Message{Subject: subject, Stored: time.Now()}, o); err != nil && fault.ClassOf(err) != fault.Transient {
			t.Errorf("after %d misses: %v", misses, err)
		}
		if err := s.admit(t.Context(), bus.Message{Subject: subject, Stored: time.Now()}, o); misses < 4 && err != nil {
			t.Errorf("tried again after %d misses: %v", misses, err)
		}
	}
}

// The outcome of a request that was not processed may have the status of its request details, and nothing else.
func TestSkippedRequestHasNoEffect(t *testing.T) {
	kept := func(status string) *tiebackv1.CloseOut {
		return &tiebackv1.CloseOut{RequestDetailId: 11, KeptStatus: status}
	}
	of := func(subject string) bus.Subject {
		s, err := bus.Parse("tb.outcome." + subject)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const vendor = "export.create_vendor.7.1"
	for _, c := range []struct {
		name, subject, kind, reason string
		closeOut                    *tiebackv1.CloseOut
		want                        string // "": it is allowed
	}{
		{"older, of no type", "_._.7.1", "_", bus.SkippedOlder, nil, ""},
		{"older", vendor, "create_vendor", bus.SkippedOlder, nil, ""},
		{"called off", vendor, "create_vendor", "rejected", kept("rejected"), ""},
		{"called off, of no type", "_._.7.1", "_", "rejected", kept("rejected"), "is not allowed"},
		{"as it succeeded", vendor, "create_vendor", "success", nil, "is not allowed"},
		{"with a success", vendor, "create_vendor", "rejected", kept("success"), "has more"},
		{"with a status", vendor, "create_vendor", "rejected", &tiebackv1.CloseOut{RequestDetailId: 11, KeptStatus: "rejected", Status: good}, "has more"},
		{"with a mark", vendor, "create_vendor", bus.SkippedOlder, &tiebackv1.CloseOut{KeptStatus: "stale", Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 5, OriginId: "V-666"}}}, "has more"},
		{"with a link", vendor, "create_vendor", bus.SkippedOlder, &tiebackv1.CloseOut{KeptStatus: "stale", Links: []*tiebackv1.Link{{ItemType: "vendor", ItemId: 5, OriginId: "V-666"}}}, "has more"},
	} {
		o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 1, Type: c.kind, SkipReason: c.reason}
		if c.closeOut != nil {
			o.CloseOuts = []*tiebackv1.CloseOut{c.closeOut}
		}
		err := checkContents(of(c.subject), o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// An outcome whose request has no event is checked against the request in Procore: a replay whose event was removed, and an outcome
// of a backup that does not have the event.
func TestOutcomeWithoutEvent(t *testing.T) {
	client, calls := requestInProcore(t, `{"id": 1, "request_name": "create_vendor", "request_data": {"request_detail_id": 11}}`)
	for _, c := range []struct {
		name, subject string
		detail        int64
		admitted      bool
		calls         int
	}{
		{"a replay", "export.create_vendor.7.1.42", 11, true, 1},
		{"a replay that names another request detail", "export.create_vendor.7.1.42", 12, false, 1},
		{"a replay of another type", "unlink.unlink_vendor.7.1.42", 11, false, 1},
		{"a first run", "export.create_vendor.7.1", 11, true, 1},
		{"a first run that names another request detail", "export.create_vendor.7.1", 12, false, 1},
		{"a first run of another type", "unlink.unlink_vendor.7.1", 11, false, 1},
	} {
		subject, err := bus.Parse("tb.outcome." + c.subject)
		if err != nil {
			t.Fatal(err)
		}
		*calls = 0
		s := &Service{Deps: Deps{Procore: client}, store: records{}}
		o := &tiebackv1.Outcome{Type: subject.Type, CompanyId: 7, ErpRequestId: 1, CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: c.detail, Status: good}}}
		err = s.admit(t.Context(), bus.Message{Subject: subject, Stored: time.Now().Add(-time.Hour)}, o)
		if (err == nil) != c.admitted || err != nil && fault.ClassOf(err) != fault.Permanent || *calls != c.calls {
			t.Errorf("%s: %d calls, %v", c.name, *calls, err)
		}
	}
}

// requestInProcore returns a client of a Procore with one ERP request, and the number of calls it has made.
func requestInProcore(t *testing.T, request string) (*procore.Client, *int) {
	t.Helper()
	calls := new(int)
	url := procoretest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*calls++
		fmt.Fprint(w, request)
	}))
	set := company.Set{7: company.New(7, company.Secrets{ClientID: "c", ClientSecret: "s"})}
	client, err := procore.New(procore.Config{APIURL: url, LoginURL: url}, set, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return client, calls
}
