package procore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tieback/tieback/pkg/fault"
)

// Statuses of a request detail. Procore may have others.
const (
	DetailInProgress = "in_progress" // the user waits
	DetailSuccess    = "success"
	DetailFailed     = "failed"
	DetailRejected   = "rejected" // an approver rejected the export
	DetailStale      = "stale"
)

// Detail is a request detail as Procore lists it.
type Detail struct {
	ID      int64
	Request int64 // 0: not in the list [I]
	Status  string
	Created time.Time     // by Procore's clock; zero: not known
	Age     time.Duration // since Created, by Procore's clock; a day if Created is not known
}

// Open reports whether the user still waits for the result.
func (d Detail) Open() bool { return d.Status == DetailInProgress }

// Ended reports whether an integration has reported success or failure.
func (d Detail) Ended() bool {
	return d.Status == DetailSuccess || d.Status == DetailFailed
}

// CalledOff reports whether the request detail ended without a report: an approver rejected the export, or it became stale.
// A detail that is neither open, ended nor called off has an unknown status, and is not processed.
func (d Detail) CalledOff() bool {
	return d.Status == DetailRejected || d.Status == DetailStale
}

// StatusText describes the status for people.
func (d Detail) StatusText() string {
	switch {
	case d.CalledOff():
		return fmt.Sprintf("request detail %d is %s in Procore: it was called off", d.ID, d.Status)
	case d.Status == "":
		return fmt.Sprintf("request detail %d has no status in Procore's list", d.ID)
	case !d.Open() && !d.Ended():
		return fmt.Sprintf("request detail %d has the status %.40q in Procore, which this version does not know", d.ID, d.Status)
	}
	return fmt.Sprintf("request detail %d is %s in Procore", d.ID, d.Status)
}

// PreventsProcessing reports whether a request detail's status means that its request must not be processed: the detail was called
// off (see Detail.CalledOff), or the status is unknown. It returns false for "".
func PreventsProcessing(status string) bool {
	return status != "" && !slices.Contains([]string{DetailInProgress, DetailSuccess, DetailFailed}, status)
}

// DetailStatus gets a request detail's status; "": the answer has none. do makes the call. An answer that does not parse is a
// transient error of Procore.
func DetailStatus(ctx context.Context, do func(context.Context, Call) ([]byte, error), id int64) (string, error) {
	raw, err := do(ctx, Call{Route: GetRequestDetail, ID: id})
	if err != nil {
		return "", err
	}
	var detail struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &detail); err != nil {
		return "", fault.From(fault.FromProcore, fault.New(fault.Transient, fmt.Errorf("request detail %d does not parse: %w", id, err)))
	}
	return detail.Status, nil
}

// DetailField is the name of the fields in an ERP request's payload that have the id of a request detail.
const DetailField = "request_detail_id"

// RequestDetails returns the ids of all request details that an ERP request's payload names, wherever they are (the
// samples do not show all places), in ascending order. It skips values that are no ids. It returns nil for a payload
// that is not one JSON value. It scans the payload without building its values.
func RequestDetails(payload []byte) []int64 {
	var ids []int64
	dec := NewDecoder(payload)
	if collectDetails(dec, &ids) != nil {
		return nil
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// collectDetails reads the next value of dec and appends the request details in it.
func collectDetails(dec *jsontext.Decoder, ids *[]int64) error {
	begin := dec.PeekKind()
	if begin != jsontext.KindBeginObject && begin != jsontext.KindBeginArray {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for kind := dec.PeekKind(); kind != jsontext.KindEndObject && kind != jsontext.KindEndArray; kind = dec.PeekKind() {
		if begin == jsontext.KindBeginObject {
			name, err := dec.ReadValue()
			if err != nil {
				return err
			}
			if kind = dec.PeekKind(); Unquoted(name, DetailField) && (kind == jsontext.KindString || kind == jsontext.KindNumber) {
				v, err := dec.ReadValue()
				if err != nil {
					return err
				}
				if id := ID(Unquote(v)); id > 0 {
					*ids = append(*ids, id)
				}
				continue
			}
		}
		if err := collectDetails(dec, ids); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// NewDecoder returns a decoder of a payload. It accepts the JSON that encoding/json accepts.
func NewDecoder(payload []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(payload), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Unquote returns the text of a string, with invalid UTF-8 replaced as by encoding/json. It returns any other value as it is.
func Unquote(v jsontext.Value) string {
	if v.Kind() != jsontext.KindString {
		return string(v)
	}
	if inner := v[1 : len(v)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	text, _ := jsontext.AppendUnquote(nil, v) // the error is that of invalid UTF-8
	return string(text)
}

// Unquoted reports whether a string is s.
func Unquoted(v jsontext.Value, s string) bool {
	return len(v) == len(s)+2 && string(v[1:len(v)-1]) == s || bytes.IndexByte(v, '\\') >= 0 && Unquote(v) == s
}
