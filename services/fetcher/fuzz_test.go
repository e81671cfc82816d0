package fetcher

import (
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// FuzzRead checks that any answer of Procore becomes an event of the catalogue with an unchanged payload, or a permanent
// error with a user message.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"id":9,"company_id":7,"request_name":"create_vendor","created_at":"2026-11-25T10:00:00Z"}`, `{"id":"9","company_id":"7","request_name":"create_contract_payment"}`,
		`{"id":8,"request_name":"create_vendor"}`, `{"id":9.5}`, `{"request_name":null}`, `[]`, `null`, ``, `{"id":9,"company_id":7,"request_name":"\u0000"}`, `{"id":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
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
