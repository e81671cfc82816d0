package tryton_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/tryton"
)

// between opens a driver that calls do just before Tryton books its next write.
func (w *world) between(do func()) *world {
	at, err := url.Parse(theTryton(w.T).Settings()["url"])
	if err != nil {
		w.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if strings.Contains(string(raw), "tieback.key.book") {
			do()
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		proxy.ServeHTTP(rw, r)
	}))
	w.Cleanup(srv.Close)
	settings := maps.Clone(theTryton(w.T).Settings())
	settings["url"] = srv.URL
	d, err := tryton.Open(w.Context(), company, settings)
	if err != nil {
		w.Fatal(err)
	}
	other := *w
	other.driver = d
	return &other
}

func TestChangeOfARecordRemovedInTheMeantimeIsRefused(t *testing.T) {
	w := newWorld(t)
	v := w.put(&tiebackv1.Record{Entity: vendor, Name: "Race", Code: unique("R")}).OriginId
	late := w.between(func() {
		if err := w.remove(vendor, v); err != nil {
			t.Error(err)
		}
	})
	_, err := late.driver.Put(t.Context(), &tiebackv1.PutRequest{
		CompanyId: company, Key: unique("k"), Request: 11, Record: &tiebackv1.Record{Entity: vendor, OriginId: v, Name: "Race 2"},
	})
	if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != "origin_id" || w.state(vendor, v) != deleted {
		t.Errorf("%v; state %v", err, w.state(vendor, v))
	}
}

// The account of an assignment that a user deleted is created again when a document needs it.
func TestDeletedAssignmentAccountIsCreatedAgain(t *testing.T) {
	w := newWorld(t)
	w.put(&tiebackv1.Record{Entity: assignment, CostCodeOriginId: w.code, CategoryOriginId: w.category})
	var ids []int64
	w.raw(&ids, "model.analytic_account.account.search",
		[]any{[]any{"parent", "=", number(w, w.code)}, []any{"tieback_cost_type", "=", number(w, w.category)}}, 0, nil, nil)
	w.raw(nil, "model.analytic_account.account.delete", ids)
	w.put(w.purchase(1))
	w.put(&tiebackv1.Record{Entity: assignment, CostCodeOriginId: w.code, CategoryOriginId: w.category})
}

func TestDraftReversalIsIgnored(t *testing.T) {
	w := newWorld(t)
	m := w.put(&tiebackv1.Record{Entity: payment, VendorOriginId: w.vendor, Amount: "12.00", Date: "2026-05-02"}).OriginId
	var mv []struct{ Journal, Period, Company int64 }
	w.read("account.move", m, &mv, "journal", "period", "company")
	r := w.make("account.move", object{
		"journal": mv[0].Journal, "period": mv[0].Period, "company": mv[0].Company, "date": tryton.Day("2026-05-02"), "origin": "account.move," + m,
	})
	if w.state(payment, m) != present {
		t.Error("a draft took the payment out of the books")
	}
	w.raw(nil, "model.account.move.delete", []int64{number(w, r)})
	if w.state(payment, m) != present {
		t.Error("the payment is gone with the draft")
	}
}

// A purchase that a user turned into a change order is no longer listed as a commitment.
func TestRecordIsListedUnderOneEntity(t *testing.T) {
	w := newWorld(t)
	one, two := w.put(w.purchase(1)).OriginId, w.put(w.purchase(1)).OriginId
	w.raw(nil, "model.purchase.purchase.draft", []int64{number(w, two)})
	w.raw(nil, "model.purchase.purchase.write", []int64{number(w, two)}, object{"origin": "purchase.purchase," + one})
	if w.state(commitment, two) != deleted || w.state(changeOrder, two) != present {
		t.Errorf("commitment %v, change order %v", w.state(commitment, two), w.state(changeOrder, two))
	}
}

func TestPaymentInAnotherCurrencyIsRefused(t *testing.T) {
	w := newWorld(t)
	var ids []int64
	w.raw(&ids, "model.currency.currency.search", []any{[]any{"code", "=", "EUR"}}, 0, nil, nil)
	if len(ids) == 0 {
		w.make("currency.currency", object{"name": "Euro", "symbol": "E", "code": "EUR", "digits": 2, "rounding": dec("0.01"),
			"rates": []any{[]any{"create", []object{{"date": tryton.Day("2000-01-01"), "rate": dec("0.5")}}}}})
	}
	w.driver = open(t, theTryton(t))
	_, err := w.driver.Put(t.Context(), w.request(&tiebackv1.Record{Entity: payment, VendorOriginId: w.vendor, Currency: "EUR", Amount: "100.00", Date: "2026-05-02"}))
	if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != "currency" {
		t.Error(err)
	}
}
