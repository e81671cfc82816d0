package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// scripts are names as contractors have them, and some unusual ones.
var scripts = map[string]string{
	"accents":           "Söhne & Cie, Zażółć gęślą jaźń Ð ñ",
	"Chinese, Japanese": "鋼鉄建設株式会社 𠮷野家",
	"emoji":             "👷🏽‍♀️ Build 👨‍👩‍👧‍👦 🇵🇱",
	"right to left":     "שלום بناء (Ltd.) 123",
	"quotes and marks":  `O'Hara "& Sons" <b> \ ; -- %s {0}`,
}

func texts(ctx context.Context, s *suite) error {
	e := s.pick("put and list", putsAndLists)
	for what, text := range scripts {
		err := s.text(ctx, e, "name", func(r *Record) *string { return &r.Name }, text)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, long := range []string{strings.Repeat("0123456789", 24), strings.Repeat("Ölförderung ", 20)} {
		if err := s.text(ctx, e, "name", func(r *Record) *string { return &r.Name }, long); err != nil {
			return fmt.Errorf("a name of 255 characters: %w", err)
		}
	}
	description := func(r *Record) *string { return &r.Description }
	err := s.text(ctx, e, "description", description, "A few words.")
	var dropped notStored
	if errors.As(err, &dropped) { // the ERP has no such field
		return nil
	}
	if err == nil {
		err = s.text(ctx, e, "description", description, strings.Repeat("Zeile, 行, строка.\n", 556))
	}
	if err != nil {
		return fmt.Errorf("a description: %w", err)
	}
	return nil
}

// notStored is the error of a text that the listing lacks.
type notStored string

func (n notStored) Error() string { return "the " + string(n) + " is empty in the listing" }

// text books a record with a text and reads it back: it is unchanged, or refused with its field.
func (s *suite) text(ctx context.Context, e Entity, field string, of func(*Record) *string, text string) error {
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	in := of(q.Record)
	*in = strings.TrimSpace(fit(*in+" "+text, field))
	b, err := s.putOnce(ctx, q)
	if err != nil {
		return errors.Join(refused(err, field), s.checkAbsent(ctx, from, q))
	}
	r, err := s.since(ctx, e, from).exactlyOne(q, b)
	switch {
	case err != nil:
		return err
	case *of(r) == "":
		return notStored(field)
	case *of(r) != *in:
		return fmt.Errorf("the %s of %d characters was returned as %q (%d); it was %q", field, utf8.RuneCountInString(*in), clip(*of(r)), utf8.RuneCountInString(*of(r)), clip(*in))
	}
	return nil
}

// fit cuts a name to 255 characters. A description may have any length.
func fit(text, field string) string {
	runes := []rune(text)
	if field != "name" || len(runes) <= 255 {
		return text
	}
	return string(runes[:254]) + "!"
}

func clip(text string) string {
	runes := []rune(text)
	if len(runes) <= 60 {
		return text
	}
	return string(runes[:30]) + "…" + string(runes[len(runes)-30:])
}

// bigIDs books records whose Procore ids a float64 can't represent.
func bigIDs(ctx context.Context, s *suite) error {
	e := s.pick("put and list", putsAndLists)
	if d := s.with(putsAndLists, documents); len(d) > 0 {
		e = d[0] // its lines have ids too
	}
	n := s.base >> 20
	for _, id := range []int64{1<<53 + 2*n + 1, math.MaxInt64 - 2*n} {
		if err := s.bigID(ctx, e, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) bigID(ctx context.Context, e Entity, id int64) error {
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	q.Record.ProcoreId = id
	for i, l := range q.Record.Lines {
		l.ProcoreId = id - int64(2*i)
	}
	q.Key = connector.Key(s.target.Company, e, id, "")
	b := s.put(ctx, s.main, q)
	r := s.since(ctx, e, from)[b.OriginId]
	if r.GetProcoreId() != id {
		return fmt.Errorf("%s has the Procore id %d, but the listing has %d", b.OriginId, id, r.GetProcoreId())
	}
	by := map[string]int64{}
	for _, l := range r.Lines {
		by[l.OriginId] = l.ProcoreId
	}
	for i, l := range q.Record.Lines {
		if got := by[b.LineOriginIds[i]]; got != l.ProcoreId {
			return fmt.Errorf("line %d has the Procore id %d, but the listing has %d", i+1, l.ProcoreId, got)
		}
	}
	return nil
}

// sums are the amounts of documents. Those with mayRefuse may be refused with the field.
var sums = []struct {
	amounts   []string
	mayRefuse bool
}{
	{amounts: []string{"0.01"}},
	{amounts: []string{"0.1", "0.2"}},
	{amounts: []string{"1234567.89"}},
	{amounts: strings.Fields(strings.Repeat("0.10 ", 30))},
	{amounts: []string{"33.33", "33.33", "33.34"}},
	{amounts: []string{"16777217.01", "0.07"}}, // beyond what float32 holds
	{amounts: []string{"300.75", "-250.70"}, mayRefuse: true},
	{amounts: []string{"99999999999.99"}, mayRefuse: true},
}

func cents(ctx context.Context, s *suite) error {
	e := s.among("put and list", documents, putsAndLists)
	for _, c := range sums {
		from := s.cursor(ctx, e)
		q := s.newPut(ctx, e)
		s.setLines(q, c.amounts...)
		if err := s.exact(ctx, from, q, c.mayRefuse); err != nil {
			return fmt.Errorf("%s of %s: %w", aNoun(e), clip(strings.Join(c.amounts, " + ")), err)
		}
	}
	return nil
}

func (s *suite) exact(ctx context.Context, from string, q *tiebackv1.PutRequest, mayRefuse bool) error {
	b, err := s.putOnce(ctx, q)
	if mayRefuse && err != nil && fault.ClassOf(err) == fault.Permanent {
		return errors.Join(refused(err, "amount"), s.checkNotBooked(ctx, q))
	}
	if err != nil {
		return err
	}
	if len(b.GetLineOriginIds()) != len(q.Record.Lines) {
		return fmt.Errorf("%d lines were booked, and the answer has origin ids for %d", len(q.Record.Lines), len(b.GetLineOriginIds()))
	}
	return s.checkListed(ctx, from, q, b)
}
