package payload

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/fault"
)

// reader decodes one payload. It keeps the first error in err. Values that it reads after an error are not used.
type reader struct {
	what string // the document in messages: "commitment"
	zone *time.Location
	err  error

	refusal *fault.Error // of the current document; see refuse
}

// reader returns a reader of a document. Messages call the document what.
func (q Request) reader(what string) *reader {
	return &reader{what: what, zone: cmp.Or(q.Zone, time.UTC)}
}

// malformed records a permanent error. The detail is for the accountant and the operator.
func (r *reader) malformed(format string, args ...any) {
	if r.err != nil {
		return
	}
	detail := fmt.Sprintf(format, args...)
	r.err = &fault.Error{
		Class: fault.Permanent, Err: fmt.Errorf("malformed payload of a %s: %s", r.what, detail),
		UserMessage: fmt.Sprintf("Tieback cannot read the %s that Procore sent: %s. Nothing was done. Correct it in Procore and try again, or contact the administrator of your ERP integration.", r.what, detail),
	}
}

// object reads a required object.
func (r *reader) object(o Object, name string) Object {
	child := o.Object(name)
	if len(child) == 0 {
		r.malformed("it has no %s", words(name))
	}
	return child
}

// id reads a required id.
func (r *reader) id(o Object, name string) int64 {
	id := r.ref(o, name)
	if id == 0 {
		r.malformed("a %s is missing", words(name))
	}
	return id
}

// ref reads an optional id. It returns 0 if there is none.
func (r *reader) ref(o Object, name string) int64 {
	id, err := parseID(o[name])
	if err != nil {
		r.malformed("its %s is %.60q, but an id in Procore is a positive whole number", words(name), fmt.Sprint(o[name]))
	}
	return id
}

// list reads an array of objects. A missing or null array is empty; anything else is malformed.
func (r *reader) list(o Object, name string) []Object {
	raw, isList := o[name].([]any)
	out := o.Objects(name)
	if (o[name] != nil && !isList) || len(out) != len(raw) {
		r.malformed("its %s are not a list of objects", words(name))
	}
	return out
}

// plain matches a decimal that is passed on exactly as written.
var plain = regexp.MustCompile(`^-?\d{1,40}(\.\d{1,40})?$`)

// scientific matches the other forms of a decimal, within reason: 4.445e1, +1, .5
var scientific = regexp.MustCompile(`^[+-]?\d{0,40}\.?\d{0,40}([eE][+-]?\d{1,2})?$`)

// decimal reads an amount exactly. It returns "" if there is none.
func (r *reader) decimal(o Object, name string) string {
	s := o.Decimal(name)
	_, isBool := o[name].(bool)
	switch {
	case o[name] == nil || s == "" && !isBool && isScalar(o[name]):
		return ""
	case plain.MatchString(s):
		return s
	case scientific.MatchString(s):
		if d, err := decimal.NewFromString(s); err == nil {
			return d.String()
		}
	}
	r.malformed("the %s %.60q is not a decimal number", words(name), s)
	return ""
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// value parses an amount that decimal has read; "" is zero.
func value(s string) decimal.Decimal {
	if s == "" { // not through NewFromString, which builds an error
		return decimal.Zero
	}
	d, _ := decimal.NewFromString(s)
	return d
}

// amount reads an amount for a calculation; a missing one is zero.
func (r *reader) amount(o Object, name string) decimal.Decimal { return value(r.decimal(o, name)) }

// unit reads a unit of measure, a string or an object with a name.
func unit(o Object) string {
	if m := o.Object("uom"); m != nil {
		return m.Text("name")
	}
	return o.Text("uom")
}

func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
