package payload

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"
)

// The date of a point in time is the date in the company's time zone. The accounting period depends on it.
func TestDateOfAnInstantIsInTheCompanyZone(t *testing.T) {
	for _, tt := range []struct{ why, zone, name, value, want string }{
		{"evening of the last day of a month", "America/Chicago", "reviewed_at", "2026-12-01T01:30:00Z", "2026-11-30"},
		{"already the next day", "Australia/Sydney", "reviewed_at", "2026-11-30T14:00:00Z", "2026-12-01"},
		{"UTC if the company has no zone", "", "reviewed_at", "2026-12-01T01:30:00Z", "2026-12-01"},
		{"written in another zone", "America/Chicago", "reviewed_at", "2026-11-30T21:30:00-08:00", "2026-11-30"},
		{"the same in New York", "America/New_York", "reviewed_at", "2026-11-30T21:30:00-08:00", "2026-12-01"},
		{"fractions of a second", "America/Chicago", "approved_on", "2026-12-01T05:59:59.999Z", "2026-11-30"},
		{"as Rails prints it", "America/Chicago", "reviewed_at", "2026-12-01 01:30:00 UTC", "2026-11-30"},
		{"midnight in UTC, of a point in time", "America/Chicago", "reviewed_at", "2026-12-01T00:00:00Z", "2026-11-30"},
		{"midnight in UTC, of a field that is a date", "America/Chicago", "payment_due_date", "2025-06-30T00:00:00Z", "2025-06-30"},
		{"midnight in another zone, of a field that is a date", "America/Chicago", "billing_date", "2026-12-01T00:00:00-05:00", "2026-12-01"},
		{"midnight in another zone, of a point in time", "America/Chicago", "reviewed_at", "2026-12-01T00:00:00-05:00", "2026-11-30"},
		{"an evening that is midnight in UTC", "America/Chicago", "period_end", "2026-11-30T18:00:00-06:00", "2026-11-30"},
		{"a date", "America/Chicago", "billing_date", "2026-12-01", "2026-12-01"},
		{"of a wall clock", "America/Chicago", "billing_date", "2026-12-01T01:30:00", "2026-12-01"},
		{"the epoch is no date", "America/Chicago", "date_payment_initiated", "1970-01-01T00:00:00Z", ""},
		{"the epoch in another zone is no date", "America/Chicago", "date_payment_initiated", "1969-12-31T18:00:00-06:00", ""},
		{"the epoch's day is no date", "America/Chicago", "billing_date", "1970-01-01", ""},
	} {
		zone, err := time.LoadLocation(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		r := Request{Zone: zone}.reader("test")
		if got := r.date(Object{tt.name: tt.value}, tt.name); got != tt.want || r.err != nil {
			t.Errorf("%s: %s, want %s, error %v", tt.why, got, tt.want, r.err)
		}
	}
	for _, s := range []string{"2026-13-01", "2026-12-01T", "2026-12-01X01:30:00Z", "2026-12-01T25:00:00Z", "12/01/2026"} {
		r := Request{}.reader("test")
		if got := r.date(Object{"billing_date": s}, "billing_date"); r.err == nil {
			t.Errorf("%q was read as %s", s, got)
		}
	}
}

// If the first field has the epoch, the next field with a date is used.
func TestEpochIsSkippedForTheNextDate(t *testing.T) {
	d := read1(t, ContractPayment, `{"request_data":{"contract_payment":{"id":1,"amount":"1","date_payment_settled":"1970-01-01T00:00:00Z","date_payment_created":"2023-05-02T15:06:02Z"}}}`)
	if d.Record.Date != "2023-05-02" {
		t.Errorf("%v", d.Record)
	}
}

// The dates of every payload are read in the company's time zone.
func TestEveryPayloadReadsDatesInTheCompanyZone(t *testing.T) {
	chicago, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	const at = "2026-12-01T01:30:00Z"
	for _, tt := range []struct {
		read func(Request) ([]Document, error)
		raw  string
	}{
		{Commitment, `{"commitment":{"id":1,"type":"WorkOrderContract","contract_date":%q},"commitment_items":[]}`},
		{CommitmentChangeOrder, `{"commitment":{"id":1},"change_order":{"id":2,"reviewed_at":%q}}`},
		{PrimeContractChangeOrder, `{"prime_contract":{"id":1},"prime_contract_change_order":{"id":2,"approved_on":%q}}`},
		{PrimeContractChangeOrder, `{"prime_contract":{"id":1},"prime_contract_change_order":{"id":2,"reviewed_at":%q}}`},
		{PaymentApplication, `{"payment_application":{"id":2,"billing_date":%q}}`},
		{Requisitions, `{"requisitions":[{"procore_requisition_id":2,"billing_date":%q}]}`},
		{ContractPayment, `{"contract_payment":{"id":2,"amount":"1","date_payment_funded":%q}}`},
		{DirectCost, `{"direct_cost":{"id":"2","accounting_date":%q}}`},
	} {
		q, err := Parse(fmt.Appendf(nil, `{"request_data":`+tt.raw+`}`, at))
		if err != nil {
			t.Fatal(err)
		}
		q.Zone = chicago
		docs, err := tt.read(q)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
		} else if docs[0].Record.Date != "2026-11-30" {
			t.Errorf("%s: %s", tt.raw, docs[0].Record.Date)
		}
	}
}
