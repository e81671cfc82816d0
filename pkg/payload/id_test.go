package payload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore"
)

// An id that does not fit 63 bits is refused: truncated, it would be the id of another record.
func TestInvalidIDIsRefused(t *testing.T) {
	bad := []string{`9223372036854775808`, `"9223372036854775808"`, `18446744073709551617`, `1e3`, `1.5`, `1.0`, `-1`, `"-1"`, `"+1"`, `"1e3"`, `"0x10"`, `"seven"`, `true`, `[1]`, `{"id":1}`}
	for _, id := range bad {
		for _, raw := range []string{
			`{"vendor":{"id":%s,"name":"A"}}`,
			`{"vendor":{"id":1,"name":"A"},"request_detail_id":%s}`,
		} {
			q, err := Parse(fmt.Appendf(nil, `{"request_data":`+raw+`}`, id))
			if err == nil {
				_, err = Vendor(q)
			}
			if err == nil {
				t.Errorf("%s with %s was read", raw, id)
			} else {
				permanent(t, err)
			}
		}
		q, err := Parse(fmt.Appendf(nil, `{"request_data":{"contract_payment":{"id":1,"amount":"1","requisition_id":%s}}}`, id))
		if err != nil {
			t.Fatal(err)
		}
		if docs, err := ContractPayment(q); err == nil || !strings.Contains(err.Error(), "requisition id") {
			t.Errorf("a payment of requisition %s was read as %v, error %v", id, docs[0].Refs, err)
		}
		if got := procore.RequestDetails(fmt.Appendf(nil, `{"request_detail_id":%s,"x":{"request_detail_id":5}}`, id)); fmt.Sprint(got) != "[5]" && !strings.HasPrefix(id, "{") {
			t.Errorf("request detail %s was read as %v", id, got)
		}
	}
	for raw, want := range map[string]int64{`9223372036854775807`: 1<<63 - 1, `"9223372036854775807"`: 1<<63 - 1, `null`: 0, `""`: 0, `"null"`: 0, `0`: 0, `"7"`: 7, `" 7 "`: 7} {
		o := object(t, `{"id":`+raw+`}`)
		if got, err := o.RefID("id"); got != want || err != nil {
			t.Errorf("%s: %d, error %v", raw, got, err)
		}
	}
}

// A code typed on a Mac equals the same code typed on Windows. An origin id belongs to the ERP and stays
// unchanged.
func TestTextIsNormalized(t *testing.T) {
	const decomposed, composed = "Cafe\u0301 ", "Caf\u00e9"
	o := Object{"name": "\u00a0" + decomposed, "origin_code": decomposed, "origin_id": "e\u0301"}
	if o.Text("name") != composed || o.Text("origin_code") != composed || o.Text("origin_id") != "e\u0301" {
		t.Errorf("%q %q %q", o.Text("name"), o.Text("origin_code"), o.Text("origin_id"))
	}
}

// object parses a JSON object.
func object(t *testing.T, raw string) Object {
	t.Helper()
	q, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return q.Data
}
