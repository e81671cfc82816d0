package sandbox

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Request is an ERP request and how it stands.
type Request struct {
	ID           int64     `json:"id"`
	CompanyID    int64     `json:"company_id"`
	EventType    string    `json:"event_type"`
	Clicked      time.Time `json:"clicked_at"`
	Closed       time.Time `json:"closed_at"` // zero: not yet
	DeadLettered bool      `json:"dead_lettered"`
	Details      []Detail  `json:"request_details"`
	TooEarly     []string  `json:"too_early"` // successes that came before their records were marked
	Payload      rawJSON   `json:"payload"`
}

// Detail is a request detail as the user sees it.
type Detail struct {
	ID       int64    `json:"id"`
	ItemType string   `json:"item_type"`
	ItemID   int64    `json:"item_id"`
	Status   string   `json:"status"`
	Messages []string `json:"messages"`
}

type rawJSON []byte

// MarshalJSON shows the payload as it was sent.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// IsClosed says whether all details are final, or, without a detail, the sandbox was told.
func (r Request) IsClosed() bool { return !r.Closed.IsZero() }

// Outcome is failed if a detail failed, success if all succeeded, "" without details or before.
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

// Request looks a request up.
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
		DeadLettered: r.dead, TooEarly: slices.Clone(r.early), Payload: r.body,
	}
	for _, d := range r.details {
		v.Details = append(v.Details, Detail{ID: d.id, ItemType: d.itemType, ItemID: d.itemID, Status: d.status, Messages: slices.Clone(d.messages)})
	}
	return v
}

// Closed tells the sandbox that the pipeline is done with a request. It closes a request
// without details; one with details closes when they are final, and not before.
func (sb *Sandbox) Closed(requestID int64) {
	sb.tell(requestID, func(*request) {})
}

// DeadLettered tells the sandbox that a request lies among the dead letters.
func (sb *Sandbox) DeadLettered(requestID int64) {
	sb.tell(requestID, func(r *request) { r.dead = true })
}

func (sb *Sandbox) tell(requestID int64, note func(*request)) {
	req, err := sb.request(requestID)
	if err != nil {
		return // another run's
	}
	req.co.mu.Lock()
	defer req.co.mu.Unlock()
	note(req)
	if len(req.details) == 0 {
		req.close()
	}
}

// Wait waits until a request is closed, or ctx ends: then the request comes with its error.
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

// DropDeliveries discards all deliveries that wait, of all hooks: what a receiver that was
// down for 12 hours finds. It answers how many.
func (sb *Sandbox) DropDeliveries() int {
	sb.hooks.mu.Lock()
	defer sb.hooks.mu.Unlock()
	n := 0
	for _, h := range sb.hooks.all {
		h.queue.mu.Lock()
		n += len(h.waiting)
		h.flush()
		h.queue.mu.Unlock()
	}
	return n
}
