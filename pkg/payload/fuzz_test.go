package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// decoders are all functions that read documents from a payload.
var decoders = map[string]func(Request) ([]Document, error){
	"create_standard_cost_codes": StandardCostCodes, "create_vendor": Vendor, "create_budget": Budget, "update_budget": Budget,
	"create_requisitions": Requisitions, "create_payment": ContractPayment, "create_commitment": Commitment,
	"create_commitment_change_order": CommitmentChangeOrder, "create_payment_application": PaymentApplication,
	"create_prime_contract_change_order": PrimeContractChangeOrder, "create_company_level_direct_cost": DirectCost,
	"create_or_update_job": trunk(Job), "create_sub_job": trunk(SubJob),
}

func trunk(read func(Request) (Tree, error)) func(Request) ([]Document, error) {
	return func(q Request) ([]Document, error) {
		t, err := read(q)
		docs := []Document{t.Document}
		for _, c := range t.CostCodes {
			docs = append(docs, c.Document)
		}
		return docs, err
	}
}

// No decoder panics, whatever the input. A refusal has an error for the operator and a message for the
// accountant, and the amounts of an accepted document add up.
func FuzzDecode(f *testing.F) {
	for _, e := range dictionary.Entries() {
		f.Add([]byte(e.Sample))
	}
	f.Add([]byte(`{"request_data":{"budget":{"id":1,"project_id":2},"job_costs":[{"id":1,"new_amount":1e-9},null]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		procore.RequestDetails(raw)
		q, err := Parse(raw)
		if err != nil {
			permanent(t, err)
			return
		}
		for name, decode := range decoders {
			docs, err := decode(q)
			if err != nil {
				explained(t, err)
				continue
			}
			for _, d := range docs {
				if d.Refusal != nil {
					permanent(t, d.Refusal)
					continue
				}
				addsUp(t, name, d.Record)
			}
		}
		for name := range unlinkSources {
			links, err := Unlinked(name, q)
			checkLinks(t, links, err)
		}
		for name := range resetSources {
			links, err := Reset(name, q)
			checkLinks(t, links, err)
		}
	})
}

func permanent(t *testing.T, err error) {
	t.Helper()
	if fault.ClassOf(err) != fault.Permanent {
		t.Errorf("%v is %v", err, fault.ClassOf(err))
	}
}

func explained(t *testing.T, err error) {
	t.Helper()
	permanent(t, err)
	var e *fault.Error
	if !errors.As(err, &e) || e.Err == nil || e.UserMessage == "" {
		t.Errorf("unexplained: %#v", err)
	}
}

func checkLinks(t *testing.T, list []Link, err error) {
	t.Helper()
	if err != nil {
		explained(t, err)
		return
	}
	for _, link := range list {
		if link.Refusal != nil { // only this link: the others are still read
			explained(t, link.Refusal)
			continue
		}
		if link.Record.ProcoreId <= 0 {
			t.Errorf("a link without id: %v", link.Record)
		}
	}
}

func addsUp(t *testing.T, name string, r *tiebackv1.Record) {
	t.Helper()
	if r.ProcoreId <= 0 {
		t.Errorf("%s: a record without id: %v", name, r)
	}
	total := decimal.Zero
	for _, l := range r.Lines {
		total = total.Add(amount(t, l.Amount))
		for _, s := range []string{l.Quantity, l.UnitCost, l.TaxAmount, l.Retainage} {
			amount(t, s)
		}
	}
	if got := amount(t, r.Amount); len(r.Lines) > 0 && r.Entity != tiebackv1.Entity_ENTITY_BUDGET && !got.Equal(total) {
		t.Errorf("%s: the amount is %s, its lines %s", name, got, total)
	}
}

func amount(t *testing.T, s string) decimal.Decimal {
	t.Helper()
	if s == "" {
		return decimal.Zero
	}
	d, err := decimal.NewFromString(s)
	if err != nil {
		t.Errorf("%q is no decimal", s)
	}
	return d
}

// An amount keeps its value, as a string and as a number.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0.1", "-343.85", "9007199254740993.01", "4.445e1", "1E-2", "+1", ".5", "1.", "00", "", "null", "$1,087.80", "1e99999999", "NaN", "0x10", "1_000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Skip()
		}
		for _, raw := range []string{string(quoted), s} {
			q, err := Parse([]byte(`{"amount":` + raw + `}`))
			if err != nil {
				continue
			}
			o := q.Data
			r := &reader{what: "test"}
			got := r.decimal(o, "amount")
			if r.err != nil || got == "" {
				continue
			}
			want, err := decimal.NewFromString(o.Text("amount"))
			if err != nil || !amount(t, got).Equal(want) {
				t.Errorf("%s came out as %s", raw, got)
			}
		}
	})
}

// A payload has the values that encoding/json reads, and the request details that procore.RequestDetails finds.
func FuzzParse(f *testing.F) {
	for _, e := range dictionary.Entries() {
		f.Add([]byte(e.Sample))
	}
	for _, s := range []string{
		`{"a":"\u00e9\ud800 \ud83d\ude00\n","\u0061":[1,-0,1.50e+2,true,false,null,[],{},""]}`, "{\"a\xff\":\"\xff\"}", ` {"a":1} `, `{"a":1}{`, `[1] 2`, `{"a":1,}`, `{"a" 1}`, `[01]`, `nul`, ``,
		`{"request_detail_id":"7","x":[{"request_detail_id":3,"request\u005fdetail_id":7}],"y":{"request_detail_id":{"request_detail_id":4}}}`,
		`{"request_detail_id":"x"}`, `{"request_detail_id":null,"x":{"request_detail_id":"null"}}`, `{"x":"request_detail_id","y":5}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		err := dec.Decode(&want)
		if _, end := dec.Token(); err == nil && end != io.EOF {
			err = errors.New("data after the value")
		}
		got, gotErr := decode(raw)
		details := procore.RequestDetails(raw)
		if (err == nil) != (gotErr == nil) {
			t.Fatalf("%q: error %v, encoding/json has %v", raw, gotErr, err)
		}
		if err != nil {
			if details != nil {
				t.Errorf("%q has details %v", raw, details)
			}
			return
		}
		if !reflect.DeepEqual(got.top, want) {
			t.Errorf("%q was read as %#v, want %#v", raw, got.top, want)
		}
		if !slices.Equal(got.details, details) {
			t.Errorf("%q has details %v, procore.RequestDetails finds %v", raw, got.details, details)
		}
	})
}
