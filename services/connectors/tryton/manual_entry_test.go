package tryton_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/proto"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/tryton"
)

type object = map[string]any

// raw calls Tryton without the driver.
func (w *world) raw(out any, method string, params ...any) {
	w.Helper()
	if err := tryton.Raw(w.Context(), theTryton(w.T).Settings(), out, method, params...); err != nil {
		w.Fatalf("%s: %v", method, err)
	}
}

func (w *world) read(model, origin string, out any, fields ...string) {
	w.Helper()
	w.raw(out, "model."+model+".search_read", []any{[]any{"id", "=", number(w, origin)}}, 0, nil, nil, fields)
}

func number(w *world, origin string) int64 {
	id, err := strconv.ParseInt(strings.TrimPrefix(origin, "S"), 10, 64)
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) make(model string, values object) string {
	w.Helper()
	var ids []int64
	w.raw(&ids, "model."+model+".create", []object{values})
	return fmt.Sprint(ids[0])
}

func dec(s string) tryton.Money { return tryton.Money{Decimal: decimal.RequireFromString(s)} }

// Tryton's own records of each document have the amounts of the put, to the cent.
func TestTrytonHasTheSameAmounts(t *testing.T) {
	w := newWorld(t)
	booked := map[tiebackv1.Entity]*tiebackv1.Booking{}
	for _, r := range documents(w) {
		r = proto.CloneOf(r)
		link(r, booked)
		booked[r.Entity] = w.put(r)
	}
	type document []struct {
		State   string
		Untaxed tryton.Money `json:"untaxed_amount"`
		Lines   []struct {
			Amount tryton.Money
			Leaves []struct{ Account int64 } `json:"analytic_accounts."`
		} `json:"lines."`
	}
	for _, tt := range []struct {
		entity         tiebackv1.Entity
		model, state   string
		total          string
		lines          []string
		analyticalOnes int
	}{
		{commitment, "purchase.purchase", "quotation", "100000043.31", []string{"33.33", "10.00", "-0.01", "99999999.99"}, 4},
		{changeOrder, "purchase.purchase", "quotation", "-500.55", []string{"-500.55"}, 1},
		{requisition, "account.invoice", "paid", "982.67", []string{"1000.10", "0.07", "-100.01", "82.51"}, 2},
		{prime, "sale.sale", "quotation", "5000000.00", []string{"5000000.00"}, 1},
		{primeChange, "sale.sale", "quotation", "65.46", []string{"12.34", "50.00", "2.50", "0.62"}, 2}, // tax is a line of its own
		{application, "account.invoice", "posted", "982.60", []string{"1000.10", "-100.01", "82.51"}, 1},
		{directCost, "account.invoice", "posted", "13.75", []string{"12.50", "1.25"}, 0},
	} {
		var got document
		w.read(tt.model, booked[tt.entity].OriginId, &got, "state", "untaxed_amount", "lines.amount", "lines.analytic_accounts.account")
		if len(got) != 1 || got[0].State != tt.state || !got[0].Untaxed.Equal(dec(tt.total).Decimal) || len(got[0].Lines) != len(tt.lines) {
			t.Fatalf("%v: %+v", tt.entity, got)
		}
		leaves := 0
		for i, l := range got[0].Lines {
			leaves += len(l.Leaves)
			if !l.Amount.Equal(dec(tt.lines[i]).Decimal) {
				t.Errorf("%v line %d: %v, want %s", tt.entity, i, l.Amount, tt.lines[i])
			}
		}
		if leaves != tt.analyticalOnes {
			t.Errorf("%v: %d lines are on analytic accounts, want %d", tt.entity, leaves, tt.analyticalOnes)
		}
	}
	var move []struct {
		State string
		Lines []struct{ Debit, Credit tryton.Money } `json:"lines."`
	}
	w.read("account.move", booked[payment].OriginId, &move, "state", "lines.debit", "lines.credit")
	sum := decimal.Zero
	for _, l := range move[0].Lines {
		sum = sum.Add(l.Debit.Decimal)
	}
	if len(move[0].Lines) != 2 || move[0].State != "posted" || !sum.Equal(dec("582.67").Decimal) {
		t.Errorf("payment: %+v", move)
	}
}

// Records that accountants enter in Tryton are listed, and so is each change of their parts.
func TestRecordsEnteredInTryton(t *testing.T) {
	w := newWorld(t)
	_, vendors := w.list(vendor, "", 0)
	party := w.make("party.party", object{"name": "By hand", "addresses": []any{[]any{"create", []object{{"city": "Austin"}}}}})
	got, vendors := w.list(vendor, vendors, 1)
	if c := got[party]; len(got) != 1 || c == nil || c.Record.Name != "By hand" || c.Record.GetContact().GetCity() != "Austin" || c.Record.ProcoreId != 0 {
		t.Fatalf("%v", got)
	}
	var at []struct{ Addresses []int64 }
	w.read("party.party", party, &at, "addresses")
	w.raw(nil, "model.party.address.write", at[0].Addresses, object{"city": "Dallas"})
	got, vendors = w.list(vendor, vendors, 0)
	if c := got[party]; len(got) != 1 || c == nil || c.Record.Contact.City != "Dallas" {
		t.Errorf("after a change of the address: %v", got)
	}
	if got, _ = w.list(vendor, vendors, 0); len(got) != 0 {
		t.Errorf("nothing changed, and %v is listed", got)
	}
	w.raw(nil, "model.party.party.delete", []int64{number(w, party)})
	if got, _ = w.list(vendor, vendors, 0); len(got) != 1 || got[party] == nil || !got[party].Deleted || w.state(vendor, party) != deleted {
		t.Errorf("after it was deleted: %v", got)
	}
}

func TestPurchaseEnteredInTryton(t *testing.T) {
	w := newWorld(t)
	put := w.put(&tiebackv1.Record{Entity: commitment, Name: "Ours", JobOriginId: w.job, VendorOriginId: w.vendor,
		Lines: []*tiebackv1.Line{{Amount: "7.00", CostCodeOriginId: w.code, CategoryOriginId: w.category}}})
	_, cursor := w.list(commitment, "", 0)
	var ours []struct {
		Currency, Address, Unit int64
		Lines                   []struct {
			Unit   int64
			Leaves []struct{ Account, Root int64 } `json:"analytic_accounts."`
		} `json:"lines."`
		InvoiceAddress int64 `json:"invoice_address"`
	}
	w.read("purchase.purchase", put.OriginId, &ours, "currency", "invoice_address", "lines.unit", "lines.analytic_accounts.account", "lines.analytic_accounts.root")
	leaf := ours[0].Lines[0].Leaves[0]
	id := w.make("purchase.purchase", object{"party": number(w, w.vendor), "currency": ours[0].Currency, "invoice_address": ours[0].InvoiceAddress,
		"invoice_method": "manual", "description": "Rebar",
		"lines": []any{[]any{"create", []object{{"type": "line", "quantity": 2, "unit": ours[0].Lines[0].Unit, "unit_price": dec("10.01"), "description": "Bars",
			"analytic_accounts": []any{[]any{"create", []object{{"root": leaf.Root, "account": leaf.Account}}}}}}}}})
	if got, _ := w.list(commitment, cursor, 0); len(got) != 0 || w.state(commitment, id) != unknown {
		t.Errorf("a draft that a user is entering is listed: %v", got)
	}
	w.raw(nil, "model.purchase.purchase.quote", []int64{number(w, id)})
	got, cursor := w.list(commitment, cursor, 0)
	c := got[id]
	if c == nil || c.Record.Amount != "20.02" || c.Record.JobOriginId != w.job || c.Record.VendorOriginId != w.vendor || len(c.Record.Lines) != 1 ||
		c.Record.Lines[0].CostCodeOriginId != w.code || c.Record.Lines[0].CategoryOriginId != w.category || c.Record.Name != "Rebar" {
		t.Fatalf("%v", c)
	}
	line := c.Record.Lines[0].OriginId
	w.raw(nil, "model.purchase.purchase.draft", []int64{number(w, id)})
	w.raw(nil, "model.purchase.line.write", []int64{number(w, line)}, object{"unit_price": dec("10.02")})
	got, cursor = w.list(commitment, cursor, 0)
	if c = got[id]; c == nil || c.Record.Amount != "20.04" {
		t.Errorf("after a change of the line: %v", c)
	}
	w.raw(nil, "model.purchase.purchase.cancel", []int64{number(w, id)})
	if got, _ = w.list(commitment, cursor, 0); got[id] == nil || !got[id].Deleted || w.state(commitment, id) != deleted {
		t.Errorf("after it was cancelled: %v", got)
	}
}

// A payment that accountants make with Tryton's own wizard is listed.
func TestPaymentEnteredInTryton(t *testing.T) {
	w := newWorld(t)
	booked := map[tiebackv1.Entity]*tiebackv1.Booking{}
	for _, r := range documents(w)[:3] {
		r = proto.CloneOf(r)
		link(r, booked)
		booked[r.Entity] = w.put(r)
	}
	_, cursor := w.list(payment, "", 0)
	invoice := number(w, booked[requisition].OriginId)
	var method []int64
	w.raw(&method, "model.account.invoice.payment.method.search", []any{}, 0, 1, nil)
	var session []any
	w.raw(&session, "wizard.account.invoice.pay.create")
	var company []struct {
		Company, Currency int64
	}
	w.read("account.invoice", booked[requisition].OriginId, &company, "company", "currency")
	err := tryton.RawIn(t.Context(), theTryton(t).Settings(),
		object{"active_model": "account.invoice", "active_id": invoice, "active_ids": []int64{invoice}},
		nil, "wizard.account.invoice.pay.execute", session[0], object{"start": object{
			"amount": dec("982.67"), "currency": company[0].Currency, "currency_digits": 2, "company": company[0].Company,
			"date": tryton.Day("2026-05-20"), "payment_method": method[0], "description": "check 7"}}, "choice")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := w.list(payment, cursor, 0)
	for _, c := range got {
		if c.Record.Amount == "982.67" && c.Record.ParentOriginId == booked[requisition].OriginId && c.Record.ContractOriginId == booked[commitment].OriginId {
			return
		}
	}
	t.Errorf("%v", got)
}
