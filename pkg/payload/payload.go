// Package payload turns Procore's payloads into canonical records. It hides the peculiarities of the wire
// format: ids and amounts as numbers or strings, the string "null", data with and without the request_data
// wrapper.
package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// Request is the data of an ERP request: the content of request_data, or the whole document if there is no
// wrapper.
type Request struct {
	Data Object   // empty if request_data is an array
	List []Object // if request_data is an array: create_standard_cost_codes

	Details []int64 // the ids of all request details that the ERP request names, in ascending order; see procore.RequestDetails

	Zone *time.Location // the company's time zone, for the dates of points in time; nil: UTC
}

// Object is a JSON object whose numbers are json.Number, so that 64-bit ids and cents are exact.
type Object map[string]any

// Parse reads an ERP request. Anything but a JSON object with data is a permanent error.
func Parse(raw []byte) (Request, error) {
	t, err := decode(raw)
	if err != nil {
		return Request{}, fault.New(fault.Permanent, fmt.Errorf("payload can't be parsed: %w", err))
	}
	top, ok := t.top.(map[string]any)
	if !ok {
		return Request{}, fault.New(fault.Permanent, errors.New("payload can't be parsed: it is not an object"))
	}
	if t.invalidDetail != nil {
		return Request{}, fault.New(fault.Permanent, fmt.Errorf("%s %.60q is %w", procore.DetailField, fmt.Sprint(t.invalidDetail), procore.ErrNoID))
	}
	r := Request{Details: t.details, Data: top}
	switch data := top["request_data"].(type) {
	case map[string]any:
		r.Data = data
	case []any:
		r.Data = Object{}
		for i, x := range data {
			o, ok := x.(map[string]any)
			if !ok {
				return Request{}, fault.New(fault.Permanent, fmt.Errorf("request_data[%d] is not an object", i))
			}
			r.List = append(r.List, o)
		}
	case nil:
		if _, has := top["request_data"]; has {
			return Request{}, fault.New(fault.Permanent, fmt.Errorf("request_data is null"))
		}
	default:
		return Request{}, fault.New(fault.Permanent, fmt.Errorf("request_data is neither an object nor an array"))
	}
	return r, nil
}

// Text reads a string without surrounding space, in Unicode's normal form C: a code or name that was typed on
// another machine is the same. An origin id belongs to the ERP and is not normalized. Text returns "" if the
// field is absent, null or the string "null".
func (o Object) Text(name string) string {
	switch v := o[name].(type) {
	case string:
		if v == "null" {
			return ""
		}
		if v = strings.TrimSpace(v); !strings.HasSuffix(name, "origin_id") {
			v = norm.NFC.String(v)
		}
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// ID reads an id, a number or a string of digits. It returns 0 if there is none or it does not fit 63 bits.
// RefID and the methods id and ref of a reader distinguish the two cases.
func (o Object) ID(name string) int64 {
	id, _ := parseID(o[name])
	return id
}

// RefID reads the id of another record. It returns 0 if there is none, and a permanent error if it is
// invalid.
func (o Object) RefID(name string) (int64, error) {
	id, err := parseID(o[name])
	if err != nil {
		err = fault.New(fault.Permanent, fmt.Errorf("payload: %s %.60q is %w", name, fmt.Sprint(o[name]), err))
	}
	return id, err
}

// Decimal reads an amount, a number or a string, exactly as written. It returns "" if there is none.
func (o Object) Decimal(name string) string { return o.Text(name) }

// Bool reads a boolean. It returns false if there is none.
func (o Object) Bool(name string) bool {
	b, _ := o[name].(bool)
	return b
}

// Object reads an object. It returns an empty one if there is none.
func (o Object) Object(name string) Object {
	m, _ := o[name].(map[string]any)
	return m
}

// Objects reads an array of objects, skipping other elements.
func (o Object) Objects(name string) []Object {
	list, _ := o[name].([]any)
	var out []Object
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
