package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/scenario"
	"github.com/tieback/tieback/services/tieback/command"
	linkscommand "github.com/tieback/tieback/services/tieback/links"
)

// unlisted has the item types whose links are in no list of Procore.
var unlisted = []string{
	"budget", "requisition_contract_item", "requisition_contract_detail_item", "requisition_change_order_item", "payment_application_line_item",
}

// All links of a company are lost after a run of the scenario. They are restored from Procore, and the next request that needs
// one succeeds.
func TestLinksAreRebuiltFromProcore(t *testing.T) {
	w := newWorld(t, setup{})
	l := w.run()
	w.playWith(l)
	before := w.links(l)
	types := map[string]bool{}
	for r := range before {
		types[r.ItemType] = true
	}
	if len(types) < 18 {
		t.Errorf("the scenario made links only of the item types %v", slices.Sorted(maps.Keys(types)))
	}
	w.unlinkVendors(l)
	dry := w.rebuild(l, links.Options{DryRun: true})
	for _, c := range dry.Changes {
		if c.Kind != links.New { // records that users linked or imported in Procore are new
			t.Errorf("before anything was lost, Procore and the bucket differ: %+v", c)
		}
	}

	invoice := w.exportedInvoice(l)
	w.loseLinks(l)
	w.succeeded(w.pay(invoice)) // without a link, the booking is found in the ERP
	report := w.rebuild(l, links.Options{})
	if len(report.Unread)+len(report.WithoutLines) > 0 {
		t.Errorf("could not be read: %+v, %+v", report.Unread, report.WithoutLines)
	}
	after := w.links(l)
	for r, origin := range before {
		if after[r] != origin && !slices.Contains(unlisted, r.ItemType) {
			t.Errorf("%v was %q and is %q", r, origin, after[r])
		}
	}
	for r, origin := range after {
		if got, _ := w.sandbox.Record(firstCompany, r.ItemType, r.ItemID); got.OriginID != origin {
			t.Errorf("%v is %q in Procore and %q in the bucket", r, got.OriginID, origin)
		}
	}
	w.succeeded(w.pay(invoice))
	l.stop()
	text, err := w.command("rebuild", "--dry-run")
	w.must(err)
	var again operatorv1.LinkReport
	w.must(protojson.Unmarshal([]byte(text), &again))
	if len(again.Changes) > 0 || len(again.Types) < 15 {
		t.Errorf("the command printed %s", text)
	}
}

// playWith runs the scenario for the first company, with the embedded ledger.
func (w *world) playWith(l *line) {
	w.Helper()
	books, err := l.Ledger.Company(w.Context(), firstCompany)
	w.must(err)
	play := scenario.New(w.sandbox, scenario.Config{ERPs: map[int64]scenario.ERP{firstCompany: books}, Seed: 1, Scale: 1, Deadline: patience})
	w.must(play.Run(w.Context()))
	if r := play.Report(); len(r.Lost)+len(r.Wrong)+len(r.Skipped) > 0 {
		w.Errorf("the scenario failed: lost %+v, wrong %+v, skipped %v", r.Lost, r.Wrong, r.Skipped)
	}
	w.must(books.Close())
}

// unlinkVendors removes the origin ids of unlinked vendors, as Procore does and the sandbox does not.
func (w *world) unlinkVendors(l *line) {
	w.Helper()
	all, err := state.Of(l.Bus).AllLinks(w.Context(), firstCompany)
	w.must(err)
	for r, link := range all {
		if r.ItemType == "vendor" && link.OriginID == "" {
			w.must(w.sandbox.Link(firstCompany, r.ItemType, r.ItemID, ""))
		}
	}
}

// links returns the origin ids of the first company's links.
func (w *world) links(l *line) map[state.Linked]string {
	w.Helper()
	all, err := state.Of(l.Bus).AllLinks(w.Context(), firstCompany)
	w.must(err)
	out := map[state.Linked]string{}
	for r, link := range all {
		if link.OriginID != "" {
			out[r] = link.OriginID
		}
	}
	return out
}

func (w *world) rebuild(l *line, o links.Options) *operatorv1.LinkReport {
	w.Helper()
	session, err := l.Procore.Company(firstCompany)
	w.must(err)
	session = session.Retrying(links.Retry(func(time.Duration, string) {}))
	o.Company = l.Companies[firstCompany]
	r, err := links.Rebuild(w.Context(), session, state.Of(l.Bus), o)
	w.must(err)
	return r
}

// loseLinks deletes all links.
func (w *world) loseLinks(l *line) {
	w.Helper()
	s, err := l.Bus.JetStream().Stream(w.Context(), "KV_tieback-state")
	w.must(err)
	w.must(s.Purge(w.Context(), jetstream.WithPurgeSubject("$KV.tieback-state.link.>")))
	if left := w.links(l); len(left) > 0 {
		w.Fatalf("links left: %v", left)
	}
}

// invoice has Procore's ids of an exported invoice of a subcontractor.
type invoice struct{ id, contract, project int64 }

func (w *world) exportedInvoice(l *line) invoice {
	w.Helper()
	all, err := state.Of(l.Bus).AllLinks(w.Context(), firstCompany)
	w.must(err)
	for r, link := range all {
		if r.ItemType == "requisition" && link.OriginID != "" {
			q, _ := w.sandbox.Request(link.Order.Request())
			contract := sandbox.GetID(decode(w.T, q.Payload), "request_data.requisitions[].contract_id")
			c, _ := w.sandbox.Record(firstCompany, "work_order_contract", contract)
			return invoice{r.ItemID, contract, c.Project}
		}
	}
	w.Fatal("the scenario exported no invoice")
	return invoice{}
}

// pay exports a payment that names its invoice only by Procore's id.
func (w *world) pay(i invoice) int64 {
	w.Helper()
	payload, err := w.sandbox.Sample(firstCompany, "create_payment", nil)
	w.must(err)
	for field, value := range map[string]any{"requisition_id": i.id, "contract_id": i.contract, "project_id": i.project, "amount": "1.00", "check_number": fmt.Sprint("CHK-", w.minted("contract_payment"))} {
		sandbox.Set(payload, "request_data.contract_payment."+field, value)
	}
	return w.pressIn(firstCompany, "create_payment", payload)
}

// command runs `tieback links` on the data folder, for the first company.
func (w *world) command(args ...string) (string, error) {
	w.Helper()
	for name, value := range map[string]string{
		"TIEBACK_DATA": w.data, "TIEBACK_COMPANIES": w.file, "TIEBACK_NATS_URL": "", "TIEBACK_INGEST_ADDR": "127.0.0.1:0",
		"TIEBACK_LOG_LEVEL": "error", "TIEBACK_PROCORE_API_URL": w.url, "TIEBACK_PROCORE_LOGIN_URL": w.url,
	} {
		w.Setenv(name, value)
	}
	var out bytes.Buffer
	cmd := linkscommand.Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(w.Output())
	cmd.SetArgs(append(args, "--company", fmt.Sprint(firstCompany), "-o", "json"))
	err := cmd.ExecuteContext(w.Context())
	return out.String(), err
}

// If one of Procore's lists may not be read, the rest is rebuilt and the command fails. Transient errors are retried.
func TestRebuildWithUnreadableListFails(t *testing.T) {
	w := newWorld(t, setup{})
	id, err := w.sandbox.CreateRecord(firstCompany, "vendor")
	w.must(err)
	w.must(w.sandbox.Link(firstCompany, "vendor", id, "V-1"))
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/rest/v1.0/projects", Kind: sandbox.FaultStatus, Status: 403}))
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/rest/v1.0/vendors", Kind: sandbox.FaultStatus, Status: 502}))
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "insurances", Kind: sandbox.FaultStatus, Status: 429}))
	text, err := w.command("rebuild")
	var r operatorv1.LinkReport
	w.must(protojson.Unmarshal([]byte(text), &r))
	if !errors.Is(err, command.ErrFailed) || len(r.Unread) != 1 || r.Unread[0].List != "projects_list" {
		t.Errorf("%v: %s", err, text)
	}
	text, err = w.command("list", "vendor")
	if want := fmt.Sprintf(`{"links":[{"itemType":"vendor","itemId":"%d","originId":"V-1"}]}`, id); err != nil || compact(text) != want {
		t.Errorf("%v: %s", err, text)
	}
}

// compact returns JSON without white space.
func compact(doc string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(doc)); err != nil {
		return err.Error()
	}
	return b.String()
}
