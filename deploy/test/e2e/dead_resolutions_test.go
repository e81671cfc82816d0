package endtoend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/command"
	deadcommand "github.com/tieback/tieback/services/tieback/dead"
	"github.com/tieback/tieback/services/tieback/run"
)

// outage creates n dead letters in an outage of the ERP, and ends it.
func (w *world) outage(n int) (*line, []request.DeadLetter) {
	w.Helper()
	away := w.down()
	l := w.run()
	for _, id := range w.vendors(n) {
		w.failed(id, "")
	}
	away.Store(false)
	return l, l.listed(n)
}

var outages = setup{deadline: time.Second, backoff: time.Millisecond}

// sent counts the events of a subject.
func (l *line) sent(subject string) int {
	n := 0
	for _, m := range l.messages(bus.Event) {
		if m.Subject == subject {
			n++
		}
	}
	return n
}

// A replay that was recorded but not sent is listed as interrupted. The next replay of the dead letter sends it as it was
// recorded, with its edits.
func TestInterruptedReplayIsResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, outages)
	l, letters := w.outage(3)
	draft, err := l.resolver("").Edit(t.Context(), letters[1].ID)
	w.must(err)
	e, err := draft.Take(strings.Replace(draft.Text, `"name": `, `"name": "Edited", "was": `, 1))
	w.must(err)
	claimed := []time.Time{time.Now(), time.Now(), time.Now().AddDate(0, 0, -40)} // the last is older than the retention of the streams
	for i, difference := range []string{"", e.Difference, ""} {
		d := letters[i]
		s, err := bus.Parse(d.Subject)
		w.must(err)
		run := fmt.Sprint(d.ID)
		w.must(l.Bus.PublishOnce(t.Context(), bus.For(bus.Resolution, d.Type, d.CompanyId, d.ErpRequestId).WithRun(run), &tiebackv1.Resolution{
			CompanyId: d.CompanyId, ErpRequestId: d.ErpRequestId, Type: d.Type, DeadLetter: d.ID, Action: tiebackv1.Action_ACTION_REPLAYED,
			Who: "the one who died", At: timestamppb.New(claimed[i]), Subject: s.WithRun(run).String(), Difference: difference,
		}))
	}
	for _, d := range l.listed(2) {
		if d.State != request.StateInterrupted {
			t.Errorf("dead letter %d is %s, want interrupted", d.ID, d.State)
		}
	}
	for _, e := range l.replayed(letters[0].ID, letters[1].ID) {
		w.ended(e, tiebackv1.Status_STATUS_SUCCESS, "failed", "")
	}
	names := map[string]bool{}
	for _, r := range w.sound(l.Ledger, firstCompany, ledger.Vendor) {
		names[r.Name] = true
	}
	if len(names) != 2 || !names["Edited"] {
		t.Errorf("in the books are %v, want one as it was and one edited", names)
	}
	for _, i := range []int{0, 2} {
		var taken *dead.ResolvedError
		if _, err := l.resolver("bob").Replay(t.Context(), letters[i].ID, false); !errors.As(err, &taken) || taken.Who != "the one who died" {
			t.Errorf("dead letter %d once more: %v", letters[i].ID, err)
		}
	}
	if n := l.sent(letters[2].Subject + "." + fmt.Sprint(letters[2].ID)); n != 0 {
		t.Errorf("a replay that may have been sent long ago was sent %d times", n)
	}
	if got, err := request.DeadLetters(t.Context(), l.Bus, request.Filter{}); err != nil || len(got) != 0 {
		t.Errorf("listed are still %v, %v", got, err)
	}
}

// Three people resolve each of many dead letters at once: one succeeds, and the others get the winner's name.
func TestConcurrentResolutionsHaveOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, outages)
	l, letters := w.outage(40)
	var mu sync.Mutex
	won := map[uint64][]string{}
	told := map[uint64][]string{}
	var race sync.WaitGroup
	for _, who := range []string{"ann", "bob", "cleo"} {
		var ids []uint64
		for _, d := range letters {
			ids = append(ids, d.ID)
		}
		resolver := l.resolver(who)
		deal := func(id uint64) (dead.Resolution, error) { return resolver.Replay(t.Context(), id, false) }
		if who == "cleo" {
			deal = func(id uint64) (dead.Resolution, error) { return resolver.Discard(t.Context(), id, "a test") }
		}
		for _, id := range ids {
			race.Go(func() {
				done, err := deal(id)
				mu.Lock()
				defer mu.Unlock()
				var taken *dead.ResolvedError
				switch {
				case errors.As(err, &taken):
					told[id] = append(told[id], taken.Who)
				case err != nil:
					t.Error(err)
				case done.Resumed:
					told[id] = append(told[id], done.Who)
				default:
					won[id] = append(won[id], who)
				}
			})
		}
	}
	race.Wait()
	for _, d := range letters {
		if len(won[d.ID]) != 1 || len(told[d.ID]) != 2 || told[d.ID][0] != won[d.ID][0] || told[d.ID][1] != won[d.ID][0] {
			t.Errorf("dead letter %d went to %v, and told were %v", d.ID, won[d.ID], told[d.ID])
			continue
		}
		want := 1
		if won[d.ID][0] == "cleo" {
			want = 0
		}
		if got := l.sent(d.Subject + "." + fmt.Sprint(d.ID)); got != want {
			t.Errorf("dead letter %d was sent %d times, want %d", d.ID, got, want)
		}
	}
	if n := len(l.messages(bus.Resolution)); n != len(letters) {
		t.Errorf("%d dealings, want %d", n, len(letters))
	}
}

// A message that no service of Tieback wrote is listed and shown, but cannot be replayed as it is. It can be replaced by edited text.
func TestUnparsableDeadLetterIsReplayedOnlyEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	garbage := []byte{0xff, 0x00, 'g', 0x1b, '[', '2', 'J', 0xfe}
	payload, err := proto.Marshal(&tiebackv1.Event{CompanyId: firstCompany, ErpRequestId: 14, Type: "create_vendor", Payload: garbage})
	w.must(err)
	on := bus.For(bus.Event, "create_vendor", firstCompany, 11).String()
	for subject, data := range map[string][]byte{
		on: garbage, bus.For(bus.Event, "create_vendor", firstCompany, 14).String(): payload, "tb.event.export.nobody.wrote.this": garbage,
		bus.For(bus.Delivery, "", firstCompany, 16).String(): {}, bus.For(bus.Outcome, "create_vendor", firstCompany, 18).String(): garbage,
		"tb.dead.what": garbage,
	} {
		_, err := l.Bus.JetStream().Publish(t.Context(), subject, data)
		w.must(err)
	}
	resolver := l.resolver("ann")
	for _, d := range l.listed(6) {
		whole, err := request.ReadDeadLetter(t.Context(), l.Bus, d.ID)
		w.must(err)
		if text, why := resolver.Text(t.Context(), whole); why == nil || strings.ContainsAny(text, "\x00\x1b") {
			t.Errorf("%s is shown as %q and can be replayed (%v)", d.Subject, text, why)
		}
		if _, err := resolver.Replay(t.Context(), d.ID, false); !errors.Is(err, dead.ErrNotReplayable) {
			t.Errorf("%s was replayed: %v", d.Subject, err)
		}
		if d.Subject != on {
			_, err := resolver.Discard(t.Context(), d.ID, "nobody of ours wrote it")
			w.must(err)
		}
	}
	letter := l.left(1)[0]
	draft, err := resolver.Edit(t.Context(), letter.ID)
	w.must(err)
	vendor := w.minted("vendor")
	text, err := json.Marshal(w.vendor(vendor, "Found again"))
	w.must(err)
	e, err := draft.Take(string(text))
	w.must(err)
	if !strings.Contains(e.Difference, `-"\xff\x00g\x1b[2J\xfe"`) {
		t.Errorf("the difference does not show what was there:\n%s", e.Difference)
	}
	l.ends(func(*dead.Resolver, uint64) (dead.Resolution, error) { return e.Replay(w.Context(), false) }, letter.ID)
	if booked := w.sound(l.Ledger, firstCompany, ledger.Vendor); len(booked) != 1 || w.marked(vendor) != booked[0].OriginId {
		t.Errorf("in the books are %v, marked is %q", booked, w.marked(vendor))
	}
}

// left returns the unresolved dead letters.
func (l *line) left(n int) []request.DeadLetter {
	l.world.Helper()
	all, err := request.DeadLetters(l.world.Context(), l.Bus, request.Filter{})
	l.world.must(err)
	if len(all) != n {
		l.world.Fatalf("%d dead letters are open, want %d", len(all), n)
	}
	return all
}

// A message that is too large for its dead letter is read from its stream.
func TestDeadLetterWithoutItsMessageIsReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, outages)
	l, letters := w.outage(1)
	whole, err := request.ReadDeadLetter(t.Context(), l.Bus, letters[0].ID)
	w.must(err)
	whole.Message = nil
	raw, err := proto.Marshal(whole.DeadLetter)
	w.must(err)
	_, err = l.Bus.JetStream().Publish(t.Context(), bus.For(bus.Dead, whole.Type, whole.CompanyId, whole.ErpRequestId).String(), raw)
	w.must(err)
	id := l.listed(2)[1].ID
	w.ended(l.replayed(id)[id], tiebackv1.Status_STATUS_SUCCESS, "failed", "")
}

// deadCommand runs `tieback dead` on the data folder, with the embedded broker.
func (w *world) deadCommand(line string, more ...string) (string, error) {
	w.Helper()
	return w.deadCommandOn("", line, more...)
}

func (w *world) deadCommandOn(url, line string, more ...string) (string, error) {
	w.Helper()
	for name, value := range map[string]string{
		"TIEBACK_DATA": w.data, "TIEBACK_COMPANIES": w.file, "TIEBACK_NATS_URL": url, "TIEBACK_INGEST_ADDR": "127.0.0.1:0",
		"TIEBACK_LOG_LEVEL": "error", "TIEBACK_PROCORE_API_URL": w.url, "TIEBACK_PROCORE_LOGIN_URL": w.url,
	} {
		w.Setenv(name, value)
	}
	var out bytes.Buffer
	cmd := deadcommand.Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(strings.Fields(line), more...))
	err := cmd.ExecuteContext(w.Context())
	return out.String(), err
}

// says runs the command and checks that it succeeds and prints the texts.
func (w *world) says(line string, more []string, want ...string) {
	w.Helper()
	out, err := w.deadCommand(line, more...)
	if err != nil {
		w.Fatalf("%s: %v\n%s", line, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			w.Errorf("%s: no %q in\n%s", line, text, out)
		}
	}
}

// An operator resolves the dead letters of an outage with the command, while the pipeline is stopped, as the broker runs in it.
func TestDeadCommandResolvesDeadLetters(t *testing.T) {
	w := newWorld(t, outages)
	l, letters := w.outage(4)
	l.stop()
	id := func(i int) string { return fmt.Sprint(letters[i].ID) }
	w.says("list", nil, "connection refused", "4 dead letters: 4 erp.")
	w.says("list --since 1h --cause erp --type create_vendor -o json", nil, `"total": "4"`, `"state": "unresolved"`, `"cause": "erp"`, `"count": "4"`)
	w.says("list --until 1h", nil, "No dead letters.")
	w.says("discard --as dan --yes --contains nobody-has-this --reason x", nil, "No dead letters.")
	w.says("discard --as dan "+id(0), []string{"--reason", "the vendor is bankrupt"}, "dead letter "+id(0)+": discarded")
	w.says("list", nil, "3 dead letters")
	w.says("list --all", nil, `was discarded by dan`, `"the vendor is bankrupt"`)
	if out, err := w.deadCommand("replay --as eve " + id(0)); !errors.Is(err, command.ErrFailed) || !strings.Contains(out, "was discarded by dan") {
		t.Errorf("a discarded letter was replayed: %v\n%s", err, out)
	}

	w.says("show "+id(1), nil, "connection refused", `"name": `, "HISTORY OF THE REQUEST", "gave up after", "first run", "failed")
	edited := filepath.Join(t.TempDir(), "edited.json")
	w.must(os.WriteFile(edited, []byte("{}"), 0o600))
	w.says("edit --as dan --yes "+id(1), []string{"--file", edited}, "+{}", "replayed, run "+id(1))
	w.says("show -o json "+id(1), nil, `"action": "replayed"`, `"difference": "--- dead letter`, `"replayable": true`, `"message": "{\n`)
	w.says("replay --as dan --yes --cause erp -o json", nil, `"done": true`)
	w.says("list", nil, "No dead letters.")

	l = w.run()
	l.await(bus.Closed, 4+3)
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != 2 {
		t.Errorf("%d vendors in the books, want the 2 that were replayed as they were", n)
	}
}

// Beside a running pipeline, the command waits until its replays are closed.
func TestDeadCommandWaitsForReplays(t *testing.T) {
	ns := bustest.Start(t, server.Options{Port: server.RANDOM_PORT})
	w := newWorld(t, outages)
	away := w.down()
	p := w.process()
	pl := &run.Pipeline{App: p, Ledger: ledger.Open(run.LedgerDir(w.data))}
	w.must(p.Connect(w.Context(), bus.Options{URL: ns.ClientURL(), Name: "tieback"}))
	l := w.start(&line{Pipeline: pl}, nil)
	requests := w.vendors(3)
	for _, id := range requests {
		w.failed(id, "")
	}
	letters := l.listed(3)
	out, err := w.deadCommandOn(ns.ClientURL(), fmt.Sprintf("replay --wait %d", letters[0].ID))
	if err != nil || !strings.Contains(out, "; dead-lettered again: ") {
		t.Errorf("while the ERP is down: %v\n%s", err, out)
	}
	away.Store(false)
	out, err = w.deadCommandOn(ns.ClientURL(), "replay --yes --until 0s --wait -o json")
	var doc operatorv1.ReplayResponse
	if i := strings.Index(out, "\n{\n"); err != nil || protojson.Unmarshal([]byte(out[i+1:]), &doc) != nil || len(doc.Results) != 3 {
		t.Fatalf("three that are left: %v\n%s", err, out)
	}
	for _, r := range doc.Results {
		if !r.Done || !r.Closed || !strings.Contains(r.Text, "success") || !strings.Contains(r.Text, "Procore keeps the earlier status failed") {
			t.Errorf("dead letter %d ended %v", r.Id, r)
		}
	}
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != 3 {
		t.Errorf("%d vendors in the books, want 3", n)
	}
}
