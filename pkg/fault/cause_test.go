package fault

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestCauseOf(t *testing.T) {
	plain := errors.New("connection refused")
	for _, c := range []struct {
		name string
		err  error
		want Cause
	}{
		{"without a source", plain, Tieback},
		{"a message that does not parse", New(Permanent, plain), Tieback},
		{"a payload that can't be exported", Permanentf("The vendor has no name."), CompanyData},
		{"the ERP refuses a field", From(FromERP, Refused("name", "The name is taken.")), CompanyData},
		{"the ERP is down", From(FromERP, plain), ERP},
		{"the ERP's answer was lost", From(FromERP, New(Ambiguous, plain)), ERP},
		{"Procore refuses", From(FromProcore, Permanentf("Procore refused.")), Procore},
		{"Procore is down", From(FromProcore, plain), Procore},
		{"Procore's quota", From(FromProcore, Wait(time.Second, plain)), Limits},
		{"the ERP is at its limit and answers no call", &Error{Class: Throttled, Source: FromERP, Reason: NoAnswer}, ERP},
		{"wrapped by a caller", fmt.Errorf("while exporting: %w", From(FromProcore, plain)), Procore},
		{"the innermost source counts", From(FromERP, From(FromProcore, plain)), Procore},
	} {
		if got := CauseOf(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFromKeepsTheErrorsFields(t *testing.T) {
	cause := &Error{Class: Throttled, UserMessage: "Wait.", Field: "name", RetryAfter: time.Minute, Err: errors.New("slow down")}
	err := From(FromERP, cause)
	if ClassOf(err) != Throttled || UserMessage(err, "") != "Wait." || Field(err) != "name" || RetryAfter(err) != time.Minute || !errors.Is(err, cause) || err.Error() != "slow down" {
		t.Errorf("%#v", err)
	}
	if From(FromERP, nil) != nil {
		t.Error("no error became one")
	}
}
