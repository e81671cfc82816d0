package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// books is the ERP of the comparison, which Tieback's connector and the reference call alike:
//
//	POST /erp/commitments         books a commitment; with an Idempotency-Key that it knows, it returns the first booking
//	GET  /erp/commitments?key=    the booking of a key, or 404
type books struct {
	mu      sync.Mutex
	byKey   map[string]booking
	byID    map[int64][]booking // by Procore's id; several: booked more than once
	ordinal int64
}

// booking is the ERP's answer.
type booking struct {
	ID    string   `json:"id"`
	Lines []string `json:"lines"`
	Stamp string   `json:"stamp,omitempty"`
}

// commitment is what the ERP books.
type commitment struct {
	ID     int64            `json:"id"`
	Number string           `json:"number"`
	Title  string           `json:"title"`
	Vendor string           `json:"vendor"`
	Job    string           `json:"job"`
	Lines  []commitmentLine `json:"lines"`
	Stamp  string           `json:"stamp,omitempty"`
}

type commitmentLine struct {
	ID          int64  `json:"id"`
	CostCode    string `json:"cost_code"`
	Category    string `json:"category"`
	Description string `json:"description"`
	Amount      string `json:"amount"`
}

func newBooks() *books { return &books{byKey: map[string]booking{}, byID: map[int64][]booking{}} }

func (b *books) post(w http.ResponseWriter, r *http.Request) {
	var c commitment
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.ID == 0 || c.Vendor == "" || c.Job == "" || len(c.Lines) == 0 ||
		c.Lines[0].CostCode == "" || c.Lines[0].Category == "" || c.Lines[0].Amount == "" {
		http.Error(w, fmt.Sprintf("the commitment is incomplete: %+v", c), http.StatusUnprocessableEntity)
		return
	}
	_ = json.NewEncoder(w).Encode(b.book(r.Header.Get("Idempotency-Key"), c)) // fails only if the caller has ended
}

func (b *books) book(key string, c commitment) booking {
	b.mu.Lock()
	defer b.mu.Unlock()
	if first, ok := b.byKey[key]; ok {
		return first
	}
	b.ordinal++
	made := booking{ID: fmt.Sprintf("C-%d", b.ordinal), Stamp: c.Stamp}
	for i := range c.Lines {
		made.Lines = append(made.Lines, fmt.Sprintf("L-%d-%d", b.ordinal, i))
	}
	b.byKey[key] = made
	b.byID[c.ID] = append(b.byID[c.ID], made)
	return made
}

func (b *books) get(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	found, ok := b.byKey[r.FormValue("key")]
	b.mu.Unlock()
	if !ok {
		http.Error(w, "the key was never booked", http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(found) // fails only if the caller has ended
}

// of returns the bookings of a commitment.
func (b *books) of(id int64) []booking {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byID[id]
}

// serveConnector is the child process between Tieback and the ERP at the URL erp, as an integrator would write it.
func serveConnector(ctx context.Context, listen, erp string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	d := newDriver(erp)
	return remote.Serve(ctx, remote.ServerConfig{Listener: l, Resolve: func(context.Context, int64) (connector.Driver, error) { return d, nil }})
}

// driver books commitments in books.
type driver struct {
	url    string
	client *http.Client
}

func newDriver(erp string) *driver {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 128
	return &driver{url: erp + "/erp/commitments", client: &http.Client{Transport: t, Timeout: 30 * time.Second}}
}

func (d *driver) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{Name: "Bench", Version: "1", Entities: []*tiebackv1.EntityCapability{
		{Entity: tiebackv1.Entity_ENTITY_COMMITMENT, Put: true, State: true},
	}}, nil
}

func (d *driver) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	r := q.Record
	c := commitment{ID: r.ProcoreId, Number: cmp.Or(r.Code, r.Number), Title: r.Name, Vendor: r.VendorOriginId, Job: r.JobOriginId, Stamp: q.Stamp}
	for _, l := range r.Lines {
		c.Lines = append(c.Lines, commitmentLine{l.ProcoreId, l.CostCodeOriginId, l.CategoryOriginId, l.Description, l.Amount})
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	b, err := d.call(ctx, http.MethodPost, d.url, q.Key, raw)
	if err != nil {
		return nil, err
	}
	return &tiebackv1.PutResponse{Booking: b}, nil
}

func (d *driver) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	b, err := d.call(ctx, http.MethodGet, d.url+"?key="+url.QueryEscape(q.Key), "", nil)
	if errors.Is(err, errNotBooked) {
		return &tiebackv1.FindResponse{}, nil
	}
	return &tiebackv1.FindResponse{Booking: b}, err
}

var errNotBooked = errors.New("the key was never booked")

// call makes one call to the ERP. Its errors are classed; a call without an answer may have booked.
func (d *driver) call(ctx context.Context, method, url, key string, body []byte) (*tiebackv1.Booking, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fault.New(fault.Ambiguous, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, fault.New(fault.Ambiguous, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, errNotBooked
	case resp.StatusCode != http.StatusOK:
		return nil, fault.Permanentf("The ERP answered %d: %s", resp.StatusCode, cmp.Or(string(answer), "nothing"))
	}
	var b booking
	if err := json.Unmarshal(answer, &b); err != nil {
		return nil, fault.New(fault.Ambiguous, err)
	}
	return &tiebackv1.Booking{OriginId: b.ID, LineOriginIds: b.Lines, Stamp: b.Stamp}, nil
}

func (d *driver) List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return &tiebackv1.ListResponse{}, nil
}

func (d *driver) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

func (d *driver) Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return &tiebackv1.RemoveResponse{}, nil
}

func (d *driver) Close() error { return nil }
