package tryton

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

// object is a dictionary of Tryton.
type object = map[string]any

// money is a Decimal in JSON, {"__class__": "Decimal", "decimal": "1.10"}. It is never a float. null is zero.
type money struct{ decimal.Decimal }

// MarshalJSON writes all digits.
func (m money) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"__class__": "Decimal", "decimal": m.String()})
}

// UnmarshalJSON reads a Decimal, or a plain number such as an integer field.
func (m *money) UnmarshalJSON(raw []byte) (err error) {
	if string(raw) == "null" {
		return nil
	}
	var d struct {
		Decimal *string `json:"decimal"`
	}
	if raw[0] != '{' {
		m.Decimal, err = decimal.NewFromString(string(raw))
		return err
	}
	if err := json.Unmarshal(raw, &d); err != nil || d.Decimal == nil {
		return fmt.Errorf("not a Decimal: %.40s", raw)
	}
	m.Decimal, err = decimal.NewFromString(*d.Decimal)
	return err
}

// day is a date in JSON; "" is null.
type day string

// MarshalJSON writes {"__class__": "date", …}.
func (d day) MarshalJSON() ([]byte, error) {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return []byte("null"), nil
	}
	return json.Marshal(object{"__class__": "date", "year": t.Year(), "month": int(t.Month()), "day": t.Day()})
}

// UnmarshalJSON reads a date or null.
func (d *day) UnmarshalJSON(raw []byte) error {
	var v *struct{ Year, Month, Day int }
	if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		return err
	}
	*d = day(fmt.Sprintf("%04d-%02d-%02d", v.Year, v.Month, v.Day))
	return nil
}

// text is a string or null.
type text = string

// create returns the value of a One2many field that creates rows.
func create(rows ...object) any { return []any{[]any{"create", rows}} }
