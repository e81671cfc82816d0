package procore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tieback/tieback/pkg/fault"
)

// refusal returns the error of an answer with a status other than success. why is the reason that Procore gives, cleaned.
func refusal(r Route, status int, why string) error {
	err := fmt.Errorf("%s: Procore answered %d: %s", r.Name, status, why)
	if status >= 500 || status == http.StatusUnauthorized || status == http.StatusRequestTimeout {
		e := &fault.Error{Class: fault.Transient, Err: err}
		if status == http.StatusUnauthorized {
			e.Reason = fault.Denied
		}
		return &StatusError{Status: status, Why: why, Err: e}
	}
	e := &fault.Error{Class: fault.Permanent, Err: err, UserMessage: "Procore refused: " + why}
	if status == http.StatusForbidden {
		e.Reason = fault.Denied
		e.UserMessage = "Tieback's app is not installed in Procore, or its service account lacks a permission or this project. Ask your Procore administrator."
	}
	return &StatusError{Status: status, Why: why, Err: e}
}

// StatusError is the error of an answer with a status other than success. Its class is that of Err.
type StatusError struct {
	Status int
	Why    string // the reasons that Procore gives; "" for a redirect
	Err    error
}

func (e *StatusError) Error() string { return e.Err.Error() }

// Unwrap returns the classed error.
func (e *StatusError) Unwrap() error { return e.Err }

// Gone reports whether err is a 404 of Procore: the record to delete does not exist.
func Gone(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Status == http.StatusNotFound
}

// completed closes the strings, lists and objects that the beginning of a JSON text leaves open, so that it can be parsed:
// only the beginning of a long refusal is read. It drops up to one escape sequence, then whole values, until the text is
// valid.
func completed(start []byte) []byte {
	var all []byte
	for n := range 14 {
		if all = append(bytes.Clone(start), ends(start)...); json.Valid(all) {
			break
		}
		shorter := len(start) - 1
		if n >= len(`\u0000`) {
			shorter = bytes.LastIndexByte(start, ',')
		}
		start = start[:max(0, shorter)]
	}
	return all
}

// ends returns the quote, brackets and braces that a JSON text lacks at its end.
func ends(text []byte) []byte {
	var open []byte
	inString, escaped := false, false
	for _, b := range text {
		switch {
		case escaped:
			escaped = false
		case inString && b == '\\':
			escaped = true
		case b == '"':
			inString = !inString
		case inString:
		case b == '{':
			open = append(open, '}')
		case b == '[':
			open = append(open, ']')
		case len(open) > 0 && b == open[len(open)-1]:
			open = open[:len(open)-1]
		}
	}
	if inString {
		open = append(open, '"')
	}
	slices.Reverse(open)
	return open
}

// reason returns the messages of an error answer, or the answer as it is if it is not JSON with messages.
func reason(answer []byte) string {
	var body struct {
		Message string `json:"message"`
		Error   string `json:"error"`
		Errors  any    `json:"errors"`
	}
	if json.Unmarshal(answer, &body) == nil || json.Unmarshal(completed(answer), &body) == nil {
		switch {
		case body.Errors != nil:
			return words(body.Errors)
		case body.Message != "":
			return body.Message
		case body.Error != "":
			return body.Error
		}
	}
	return string(answer)
}
