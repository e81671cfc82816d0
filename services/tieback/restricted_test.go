package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/api"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// hidden is the company that the caller of TestCallerOfOneCompany may not see; absent exists nowhere.
const hidden, absent = "598134325841112", "598134325841999"

// asked has requests of each call of the operator API. COMPANY, REQUEST and LETTER are replaced by ids of the hidden company's
// things, and by ids that do not exist. A request without them asks for all that the caller may see.
var asked = map[string][]string{
	"GetOverview":     {`{}`, `{"companyIds":["COMPANY"]}`, `{"companyIds":["8","COMPANY"]}`},
	"WatchOverview":   {`{}`, `{"companyIds":["COMPANY"]}`},
	"ListRequests":    {`{}`, `{"text":"secretive"}`, `{"companyIds":["COMPANY"]}`},
	"FindRequests":    {`{"text":"secretive"}`, `{"text":"1"}`, `{"text":"x","companyIds":["COMPANY"]}`},
	"GetRequest":      {`{"requestId":"REQUEST"}`, `{"requestId":"REQUEST","companyId":"COMPANY"}`, `{"requestId":"REQUEST","companyId":"COMPANY","includePayload":true,"askProcore":true}`},
	"WatchRequest":    {`{"requestId":"REQUEST"}`, `{"requestId":"REQUEST","companyId":"COMPANY"}`},
	"TryNow":          {`{"requestId":"REQUEST","companyId":"COMPANY"}`},
	"ListDeadLetters": {`{}`, `{"filter":{"includeResolved":true}}`, `{"filter":{"companyIds":["COMPANY"]}}`},
	"GetDeadLetter":   {`{"id":"LETTER"}`, `{"id":"LETTER","includePayload":true}`},
	"PreviewReplay":   {`{}`, `{"ids":["LETTER"]}`, `{"ids":["LETTER"],"editedMessage":"{}"}`, `{"filter":{"companyIds":["COMPANY"]}}`},
	"Replay":          {`{"ids":["LETTER"]}`},
	"EditAndReplay":   {`{"id":"LETTER","message":"{}"}`},
	"Discard":         {`{"ids":["LETTER"],"reason":"x"}`},
	"ListCompanies":   {`{}`},
	"GetCompany":      {`{"companyId":"COMPANY"}`},
	"ListLinks":       {`{"companyId":"COMPANY"}`},
	"CheckLinks":      {`{"companyId":"COMPANY"}`},
	"RebuildLinks":    {`{"companyId":"COMPANY"}`},
	"Check":           {`{}`, `{"companyIds":["COMPANY"]}`},
	"Pause":           {`{"companyId":"COMPANY","reason":"x"}`},
	"Resume":          {`{"companyId":"COMPANY"}`},
	"Audit":           {`{"companyId":"COMPANY","since":"2026-01-01T00:00:00Z"}`},
	"Sweep":           {`{"companyId":"COMPANY"}`},
}

// No call of the operator API shows or changes anything of a company that is not the caller's, although the caller is an operator
// of another one. The answer about a hidden thing is that about a thing that does not exist.
func TestCallerOfOneCompany(t *testing.T) {
	const token = "operator-token-0123456789abcdef"
	var other int64
	if _, err := fmt.Sscan(hidden, &other); err != nil {
		t.Fatal(err)
	}
	commandtest.Settings(t, other, 8)
	procoreLists(t, map[int64]string{})
	access := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(access, fmt.Appendf(nil, "tokens:\n  - {name: eve, token_sha256: [%x], role: operator, companies: [8], payloads: true}\n", sha256.Sum256([]byte(token))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIEBACK_CONSOLE_ACCESS", access)
	b, leave := commandtest.Embedded(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := bus.For(bus.Event, "create_vendor", other, 1)
	must(b.PublishOnce(t.Context(), s, &tiebackv1.Event{CompanyId: other, ErpRequestId: 1, Type: "create_vendor", Payload: []byte(`{"request_data":{"vendor":{"name":"Secretive"}}}`)}))
	m, _, err := b.Last(t.Context(), s)
	must(err)
	must(b.DeadLetter(t.Context(), "export", m, &fault.Error{Class: fault.Permanent, Source: fault.FromERP, UserMessage: "Secretive", Err: fmt.Errorf("secretive host")}))
	must(state.Of(b).Pause(t.Context(), state.Pause{Company: other, Who: "ann", Reason: "secretive", At: time.Now()}))
	before := written(t, b)
	leave()
	url, stop := commandtest.Serve(t)
	client, err := api.Dial(url, token)
	must(err)

	file := operatorv1.File_tieback_operator_v1_operator_proto.Services()
	for i := range file.Len() {
		for j := range file.Get(i).Methods().Len() {
			if name := string(file.Get(i).Methods().Get(j).Name()); asked[name] == nil {
				t.Errorf("%s is not asked: add it", name)
			}
		}
	}
	for name, requests := range asked {
		for _, request := range requests {
			got, err := call(t, client, name, strings.NewReplacer("COMPANY", hidden, "REQUEST", "1", "LETTER", "1").Replace(request))
			general := !strings.Contains(request, "COMPANY") && !strings.Contains(request, "REQUEST") && !strings.Contains(request, "LETTER")
			if general {
				if text := strings.ToLower(got + fmt.Sprint(err)); strings.Contains(text, "secretive") || strings.Contains(text, hidden) {
					t.Errorf("%s %s shows the other company: %s, %v", name, request, got, err)
				}
				continue
			}
			_, want := call(t, client, name, strings.NewReplacer("COMPANY", absent, "REQUEST", "99", "LETTER", "99").Replace(request))
			same := strings.NewReplacer(hidden, "N", absent, "N", "request 1 ", "request N ", "request 99 ", "request N ", "letter 1:", "letter N:", "letter 99:", "letter N:")
			if err == nil || want == nil || same.Replace(err.Error()) != same.Replace(want.Error()) {
				t.Errorf("%s %s answers %s, %v\nand about what does not exist %v", name, request, got, err, want)
			}
		}
	}
	stop()
	b, leave = commandtest.Embedded(t)
	defer leave()
	if after := written(t, b); after != before {
		t.Errorf("the calls changed the streams or pauses from\n%s to\n%s", before, after)
	}
}

// written describes what the streams and the pauses have.
func written(t *testing.T, b *bus.Bus) (text string) {
	t.Helper()
	for _, k := range bus.Kinds {
		last, err := b.LastSequence(t.Context(), k)
		text += fmt.Sprintln(k, last, err)
	}
	pauses, err := state.Of(b).Pauses(t.Context())
	return text + fmt.Sprintln(len(pauses), err)
}

// call makes a call of the API, and returns its answer as JSON; of a stream the first.
func call(t *testing.T, c api.Client, name, request string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	method := reflect.ValueOf(c).MethodByName(name)
	in, ok := reflect.New(method.Type().In(1).Elem()).Interface().(proto.Message)
	if !ok {
		t.Fatalf("%s takes no message", name)
	}
	if err := protojson.Unmarshal([]byte(request), in); err != nil {
		t.Fatalf("%s %s: %v", name, request, err)
	}
	out := method.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(in)})
	if err, _ := out[1].Interface().(error); err != nil {
		return "", err
	}
	answer, unary := out[0].Interface().(proto.Message)
	if !unary {
		stream := out[0]
		if !stream.MethodByName("Receive").Call(nil)[0].Bool() {
			err, _ := stream.MethodByName("Err").Call(nil)[0].Interface().(error)
			return "", err
		}
		answer, _ = stream.MethodByName("Msg").Call(nil)[0].Interface().(proto.Message)
	}
	raw, err := protojson.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), nil
}
