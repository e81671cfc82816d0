package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// everyField books a vendor and a job with all fields that Procore has.
func everyField(ctx context.Context, s *suite) error {
	var checks []error
	for _, e := range s.with(putsAndLists, []Entity{vendor, job}) {
		checks = append(checks, describe(aNoun(e), catch(func() error { return s.fields(ctx, e) })))
	}
	if len(checks) == 0 {
		return leaveOut("the connector declares no vendor or job with put and list")
	}
	return findings(checks)
}

func (s *suite) fields(ctx context.Context, e Entity) error {
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	setAllFields(q.Record, s.target.Unique)
	b, err := s.putOnce(ctx, q)
	if err != nil {
		if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "" {
			return fmt.Errorf("the refusal does not name the field: %w", err)
		}
		return errors.Join(refused(err, ""), s.checkNotBooked(ctx, q), s.checkAbsent(ctx, from, q))
	}
	r, err := s.since(ctx, e, from).exactlyOne(q, b)
	if err != nil {
		return err
	}
	wrong := changedFields(r, q.Record)
	if b.OriginCode != r.Code {
		wrong = append(wrong, fmt.Errorf("the answer has the code %q, but the listing has %q", b.OriginCode, r.Code))
	}
	return few(wrong)
}

// setAllFields sets all fields of a vendor or a job.
func setAllFields(r *Record, unique string) {
	if r.Code == "" {
		r.Code = fmt.Sprintf("%s-%d", unique, r.ProcoreId%(1<<20))
	}
	r.Description = "A few words."
	r.Contact = &tiebackv1.Contact{
		Street: "500 Congress Ave", City: "Austin", State: "TX", Zip: "78701", Country: "US",
		Phone: "(512) 555-0142", Email: "office@example.com", Website: "https://www.example.com",
	}
	if r.Entity == job {
		r.StartsOn, r.EndsOn = "2026-01-05", "2026-12-18"
	}
}

// changedFields returns an error for each field that the listing has changed. The ERP may format a phone
// number in its own way, and drop the last slash of a website.
func changedFields(got, sent *Record) (wrong []error) {
	g, w := got.GetContact(), sent.Contact
	for _, f := range []struct{ what, got, sent string }{
		{"name", got.Name, sent.Name}, {"code", got.Code, sent.Code}, {"description", got.Description, sent.Description},
		{"street", g.GetStreet(), w.Street}, {"city", g.GetCity(), w.City}, {"state", g.GetState(), w.State}, {"zip", g.GetZip(), w.Zip},
		{"country", g.GetCountry(), w.Country}, {"phone", digits(g.GetPhone()), digits(w.Phone)}, {"email", g.GetEmail(), w.Email}, {"website", strings.TrimSuffix(g.GetWebsite(), "/"), w.Website},
		{"start", got.StartsOn, sent.StartsOn}, {"end", got.EndsOn, sent.EndsOn},
	} {
		if f.got != f.sent {
			wrong = append(wrong, fmt.Errorf("its %s was booked as %q, but the listing has %q", f.what, f.sent, f.got))
		}
	}
	return wrong
}

// digits returns the digits of a phone number without the country code.
func digits(phone string) string {
	out := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, phone)
	return out[max(0, len(out)-10):]
}
