package sandbox

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Request is an ERP request and its current status.
type Request struct {
	ID           int64     `json:"id"`
	CompanyID    int64     `json:"company_id"`
	EventType    string    `json:"event_type"`
	Clicked      time.Time `json:"clicked_at"`
	Closed       time.Time `json:"closed_at"` // zero: it is open
	DeadLettered bool      `json:"dead_lettered"`
	Details      []Detail  `json:"request_details"`
	TooEarly     []string  `json:"too_early"` // details that became success before their records were marked, and why
	Payload      rawJSON   `json:"payload"`
}

// Detail is a request detail.
type Detail struct {
	ID       int64    `json:"id"`
	ItemType string   `json:"item_type"`
	ItemID   int64    `json:"item_id"`
	Status   string   `json:"status"`
	Messages []string `json:"messages"`
}

type rawJSON []byte

// MarshalJSON returns the payload unchanged.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// IsClosed reports whether all details are final. A request without details is closed by ReportClosed.
func (r Request) IsClosed() bool { return !r.Closed.IsZero() }

// Outcome returns Failed if a detail failed, otherwise Success. It returns "" for an open request and one without details.
func (r Request) Outcome() string {
	if len(r.Details) == 0 || !r.IsClosed() {
		return ""
	}
	if slices.ContainsFunc(r.Details, func(d Detail) bool { return d.Status == Failed }) {
		return Failed
	}
	return Success
}

func (sb *Sandbox) request(id int64) (*request, error) {
	sb.mu.RLock()
	defer sb.mu.RUnlock()
	req := sb.requests[id]
	if req == nil {
		return nil, fmt.Errorf("the sandbox has no ERP request %d", id)
	}
	return req, nil
}

// Request returns a request.
func (sb *Sandbox) Request(id int64) (Request, bool) {
	req, err := sb.request(id)
	if err != nil {
		return Request{}, false
	}
	return req.view(), true
}

func (r *request) view() Request {
	r.co.mu.Lock()
	defer r.co.mu.Unlock()
	v := Request{
		ID: r.id, CompanyID: r.co.ID, EventType: r.eventType, Clicked: r.clicked, Closed: r.closed,
		DeadLettered: r.deadLettered, TooEarly: slices.Clone(r.tooEarly), Payload: r.body,
	}
	for _, d := range r.details {
		v.Details = append(v.Details, Detail{ID: d.id, ItemType: d.itemType, ItemID: d.itemID, Status: d.status, Messages: slices.Clone(d.messages)})
	}
	return v
}

// ReportClosed reports that the pipeline has finished a request. It closes a request without
// details; a request with details closes when all are final.
func (sb *Sandbox) ReportClosed(requestID int64) {
	sb.updateRequest(requestID, func(*request) {})
}

// ReportDeadLettered reports that a message of a request became a dead letter.
func (sb *Sandbox) ReportDeadLettered(requestID int64) {
	sb.updateRequest(requestID, func(r *request) { r.deadLettered = true })
}

func (sb *Sandbox) updateRequest(requestID int64, update func(*request)) {
	req, err := sb.request(requestID)
	if err != nil {
		return // of an earlier process
	}
	req.co.mu.Lock()
	defer req.co.mu.Unlock()
	update(req)
	if len(req.details) == 0 {
		req.close()
	}
}

// Wait waits until a request is closed. If ctx ends first, Wait returns the open request and the error of ctx.
func (sb *Sandbox) Wait(ctx context.Context, requestID int64) (Request, error) {
	req, err := sb.request(requestID)
	if err != nil {
		return Request{}, err
	}
	select {
	case <-req.done:
		return req.view(), nil
	case <-ctx.Done():
		return req.view(), ctx.Err()
	}
}
