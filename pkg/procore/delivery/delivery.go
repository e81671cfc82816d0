// Package delivery reads Procore's webhook deliveries, as they arrive and as Procore's own log lists them. It
// imports nothing else of ours but the messages, so that ingest contains nothing else.
package delivery

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ErrOther says that a delivery is about something else than a new ERP request: it is acknowledged, and not stored.
var ErrOther = errors.New("not a new ERP request")

// wire holds all three shapes of a delivery. Fields that Tieback does not need may have any
// JSON type, because Procore stops a company's webhook after a refused delivery. v2.0 and v3.0 have integer ids, event_type and
// resource_name; v4.0 has string ids, reason and resource_type, and its id is the ULID.
type wire struct {
	ID           id     `json:"id"`
	ULID         id     `json:"ulid"`
	EventType    string `json:"event_type"`
	Reason       string `json:"reason"`
	ResourceName string `json:"resource_name"`
	ResourceType string `json:"resource_type"`
	ResourceID   id     `json:"resource_id"`
	CompanyID    id     `json:"company_id"`
	ProjectID    id     `json:"project_id"`
	UserID       id     `json:"user_id"`
	Timestamp    any    `json:"timestamp"`
	APIVersion   any    `json:"api_version"`
	Related      any    `json:"related_resources"`
}

// id reads an id that is a number in one shape and a string in another; "" is none.
type id string

func (i *id) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(i))
	}
	*i = id(raw) // it may be no number: the method number checks the ids that are needed
	return nil
}

func (i id) number(field string) (int64, error) {
	if i == "" {
		return 0, fmt.Errorf("%s is missing", field)
	}
	n, err := strconv.ParseUint(string(i), 10, 63)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s must be a positive 64-bit integer, not %.40q", field, string(i))
	}
	return int64(n), nil
}

// Parse reads a delivery in any of its shapes. An error other than ErrOther is a sentence
// for the sender: what is wrong with the body.
func Parse(body []byte) (*tiebackv1.Delivery, error) {
	var w wire
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, fmt.Errorf("the body is not a delivery in JSON: %w", err)
	}
	resource, what := cmp.Or(w.ResourceName, w.ResourceType), cmp.Or(w.EventType, w.Reason)
	if resource == "" || what == "" {
		return nil, errors.New("the delivery names no resource_name and event_type (v4.0: resource_type and reason)")
	}
	if !isERPRequest(resource) || !strings.EqualFold(what, "create") {
		return nil, ErrOther
	}
	company, err1 := w.CompanyID.number("company_id")
	request, err2 := w.ResourceID.number("resource_id")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	project, _ := w.ProjectID.number("") // company-level requests have none
	user, _ := w.UserID.number("")
	d := &tiebackv1.Delivery{
		CompanyId: company, ErpRequestId: request, ProjectId: project, UserId: user,
		EventId: string(cmp.Or(w.ULID, w.ID)), ApiVersion: w.version(), ReceivedAt: timestamppb.Now(),
	}
	if at, ok := w.occurred(); ok {
		d.OccurredAt = timestamppb.New(at)
	}
	return d, nil
}

// isERPRequest reports whether a resource is "ERP Requests", "erp_requests" or one of their singulars.
func isERPRequest(resource string) bool {
	r := separators.Replace(resource)
	return strings.EqualFold(r, "erprequests") || strings.EqualFold(r, "erprequest")
}

var separators = strings.NewReplacer(" ", "", "_", "", "-", "")

// occurred is when Procore created the event: the delivery's timestamp, which has microseconds. Where
// it has none, or no timestamp can be read, it is the time of the ULID, in milliseconds; false: neither.
func (w wire) occurred() (time.Time, bool) {
	text, _ := w.Timestamp.(string)
	at, err := time.Parse(time.RFC3339, text)
	fraction := err == nil && strings.Contains(text, ".")
	if ms, ok := ulidTime(string(cmp.Or(w.ULID, w.ID))); ok && !fraction && (err != nil || ms.Truncate(time.Second).Equal(at)) {
		return ms, true
	}
	return at, err == nil
}

// ulidTime is the time of a ULID: its first 10 characters, 48 bits in Crockford's base 32.
func ulidTime(s string) (time.Time, bool) {
	if len(s) != 26 || s[0] > '7' {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range strings.ToUpper(s[:10]) {
		digit := strings.IndexRune(crockford, c)
		if digit < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(digit)
	}
	return time.UnixMilli(ms), true
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func (w wire) version() string {
	said, _ := w.APIVersion.(string)
	switch {
	case said != "":
		return said
	case w.ResourceType != "" || w.Reason != "":
		return "v4.0"
	case w.Related != nil:
		return "v3.0"
	}
	return "v2.0"
}

// ParseLogged parses an event of Procore's log of deliveries, which has the shape of a delivery, with Parse: the
// same request has the same time either way. It returns nil for an event about something else than a new ERP request.
func ParseLogged(event []byte) (*tiebackv1.Delivery, error) {
	d, err := Parse(event)
	if errors.Is(err, ErrOther) {
		return nil, nil
	}
	return d, err
}

// Occurred returns when Procore created a delivery's event, or when the delivery arrived if that is not known.
func Occurred(d *tiebackv1.Delivery) time.Time { return cmp.Or(d.OccurredAt, d.ReceivedAt).AsTime() }
