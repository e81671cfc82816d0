package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tieback/tieback/pkg/procore"
)

// tree is a JSON text with its values, which are those of encoding/json with json.Number. Strings and numbers are parts of one
// copy of the text.
type tree struct {
	top           any
	details       []int64 // request details, in ascending order, each once
	invalidDetail any     // a value of procore.DetailField that is no id; nil: none

	dec     *jsontext.Decoder
	text    string
	members []member // of the objects that are not complete yet
}

type member struct {
	name  string // "" in an array
	value any
}

// decode reads one JSON value.
func decode(raw []byte) (t tree, err error) {
	t = tree{dec: procore.NewDecoder(raw), text: string(raw), members: make([]member, 0, 64)}
	if t.top, err = t.value(); err != nil {
		return t, err
	}
	if _, err := t.dec.ReadToken(); err != io.EOF {
		return t, errors.New("data after the JSON value")
	}
	slices.Sort(t.details)
	t.details = slices.Compact(t.details)
	return t, nil
}

// value reads the next value.
func (t *tree) value() (any, error) {
	switch t.dec.PeekKind() {
	case jsontext.KindBeginObject:
		return t.object()
	case jsontext.KindBeginArray:
		return t.array()
	case jsontext.KindString:
		return t.string()
	case jsontext.KindNumber:
		n, _, err := t.scalar()
		return json.Number(n), err
	}
	token, err := t.dec.ReadToken()
	if err != nil || token.Kind() == jsontext.KindNull {
		return nil, err
	}
	return token.Bool(), nil
}

func (t *tree) object() (any, error) {
	first := len(t.members)
	if _, err := t.dec.ReadToken(); err != nil {
		return nil, err
	}
	for t.dec.PeekKind() != jsontext.KindEndObject {
		name, err := t.string()
		if err != nil {
			return nil, err
		}
		v, err := t.value()
		if err != nil {
			return nil, err
		}
		if name == procore.DetailField {
			t.detail(v)
		}
		t.members = append(t.members, member{name, v})
	}
	all := t.members[first:]
	o := make(map[string]any, len(all))
	for _, m := range all {
		o[m.name] = m.value
	}
	t.members = t.members[:first]
	_, err := t.dec.ReadToken()
	return o, err
}

func (t *tree) array() (any, error) {
	first := len(t.members)
	if _, err := t.dec.ReadToken(); err != nil {
		return nil, err
	}
	for t.dec.PeekKind() != jsontext.KindEndArray {
		v, err := t.value()
		if err != nil {
			return nil, err
		}
		t.members = append(t.members, member{value: v})
	}
	all := t.members[first:]
	list := make([]any, len(all))
	for i, m := range all {
		list[i] = m.value
	}
	t.members = t.members[:first]
	_, err := t.dec.ReadToken()
	return list, err
}

// detail collects a value of procore.DetailField.
func (t *tree) detail(v any) {
	id, err := parseID(v)
	switch {
	case err != nil:
		t.invalidDetail = v
	case id > 0:
		t.details = append(t.details, id)
	}
}

func (t *tree) string() (string, error) {
	text, raw, err := t.scalar()
	if err != nil {
		return "", err
	}
	if inner := text[1 : len(text)-1]; bytes.IndexByte(raw, '\\') < 0 && utf8.ValidString(inner) {
		return inner, nil
	}
	return procore.Unquote(raw), nil
}

// scalar reads a string or a number. It returns its part of the text.
func (t *tree) scalar() (text string, raw jsontext.Value, err error) {
	raw, err = t.dec.ReadValue()
	end := int(t.dec.InputOffset())
	return t.text[end-len(raw) : end], raw, err
}
