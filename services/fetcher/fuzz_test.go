package fetcher

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// FuzzRead checks that any answer of Procore becomes an event of the catalogue with an unchanged payload, or a permanent
// error with a user message.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"id":9,"company_id":7,"request_name":"create_vendor","created_at":"2026-11-25T10:00:00Z"}`, `{"id":"9","company_id":"7","request_name":"create_contract_payment"}`,
		`{"id":8,"request_name":"create_vendor"}`, `{"id":9.5}`, `{"request_name":null}`, `[]`, `null`, ``, `{"id":9,"company_id":7,"request_name":"\u0000"}`, `{"id":1e400}`,
		`{"id":null,"company_id":null,"request_name":"create_vendor","created_at":5,"request_data":{"id":1,"request_name":5}}`, `{"id":{}}`, `{"id":9,"request_name":5}`, `{"request_name":"create_vendor"`,
		`{"request_name":"update_vendor","request_name":"create_vendor"}`, `{"request\u005fname":"create_vendor\u0020"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		compare(t, raw)
		e, err := read(&tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 9}, raw)
		if err != nil {
			if fault.ClassOf(err) != fault.Permanent || fault.UserMessage(err, "") == "" {
				t.Errorf("%v: want a permanent error with a user message", err)
			}
			return
		}
		if _, known := catalogue.Lookup(e.Type); !known || string(e.Payload) != string(raw) {
			t.Errorf("event of type %q, payload kept: %v", e.Type, string(e.Payload) == string(raw))
		}
	})
}

// compare checks that scan reads what encoding/json reads. encoding/json also takes names in another case, which Procore does
// not send.
func compare(t *testing.T, raw []byte) {
	t.Helper()
	var want struct {
		ID        json.Number `json:"id"`
		CompanyID json.Number `json:"company_id"`
		Name      string      `json:"request_name"`
		CreatedAt any         `json:"created_at"`
	}
	var fields map[string]any
	if json.NewDecoder(bytes.NewReader(raw)).Decode(&fields) != nil || fields == nil {
		return
	}
	for name := range fields {
		if lower := strings.ToLower(name); lower != name {
			return
		}
	}
	got, err := scan(raw)
	if json.NewDecoder(bytes.NewReader(raw)).Decode(&want) != nil {
		return // read refuses more than scan: an id that is no number
	}
	created, isText := want.CreatedAt.(string)
	if err != nil || got.id != want.ID.String() || got.company != want.CompanyID.String() || got.name != want.Name || isText && got.created != created {
		t.Errorf("%q: %+v, error %v; want %+v", raw, got, err, want)
	}
}

func BenchmarkRead(b *testing.B) {
	raw, ok := dictionary.Sample("create_commitment")
	if !ok {
		b.Fatal("the dictionary has no create_commitment")
	}
	d := &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 9}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read(d, raw); err != nil {
			b.Fatal(err)
		}
	}
}
