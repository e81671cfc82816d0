package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// control is the sandbox's own API under /sandbox/, for local use: no credentials.
//
//	POST /sandbox/companies/{id}/press/{event_type}  a body replaces fields of a fresh Sample
//	GET  /sandbox/requests/{id}                      the request, its details, closed?
//	POST /sandbox/requests/{id}/closed               what Closed does
//	GET  /sandbox/calls                              the counts and the log
//	POST /sandbox/fail                               a FaultRule
//	POST /sandbox/heal                               drops every rule and sets the clock right
//	POST /sandbox/clock                              {"seconds": by how much Procore's clock is ahead}
//	POST /sandbox/companies/{id}/permissions         {"erp_integrations", "webhooks": false where the client may not; "projects": the permitted ones}
func (sb *Sandbox) control(mux *http.ServeMux) {
	mux.HandleFunc("POST /sandbox/companies/{id}/press/{event_type}", sb.pressOver)
	mux.HandleFunc("GET /sandbox/requests/{id}", sb.requestOver)
	mux.HandleFunc("POST /sandbox/requests/{id}/closed", sb.closedOver)
	mux.HandleFunc("GET /sandbox/calls", func(w http.ResponseWriter, _ *http.Request) {
		ok(map[string]any{"total": sb.TotalCalls(), "counts": sb.Counts(), "calls": sb.Calls()}).write(w)
	})
	mux.HandleFunc("POST /sandbox/fail", sb.failOver)
	mux.HandleFunc("POST /sandbox/heal", func(w http.ResponseWriter, _ *http.Request) {
		sb.Heal()
		sb.SkewClock(0)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /sandbox/clock", sb.clockOver)
	mux.HandleFunc("POST /sandbox/companies/{id}/permissions", sb.permitOver)
}

func (sb *Sandbox) pressOver(w http.ResponseWriter, r *http.Request) {
	id := digits(r.PathValue("id"))
	eventType := r.PathValue("event_type")
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(http.StatusBadRequest, "%v", err).write(w)
		return
	}
	payload, err := sb.overridden(id, eventType, &call{body: raw})
	if err != nil {
		refuse(http.StatusUnprocessableEntity, "%v", err).write(w)
		return
	}
	requestID, err := sb.Press(id, eventType, payload)
	if err != nil {
		refuse(http.StatusUnprocessableEntity, "%v", err).write(w)
		return
	}
	details := []int64{}
	req, _ := sb.Request(requestID)
	for _, d := range req.Details {
		details = append(details, d.ID)
	}
	answer{status: http.StatusCreated, body: map[string]any{"erp_request_id": requestID, "request_detail_ids": details}}.write(w)
}

// overridden is a fresh sample with the body laid over it; of an undocumented type the body alone.
func (sb *Sandbox) overridden(companyID int64, eventType string, c *call) (map[string]any, error) {
	var over map[string]any
	if len(c.body) > 0 {
		if err := c.decode(&over); err != nil {
			return nil, err
		}
	}
	if _, known := samples[eventType]; !known && over != nil {
		return over, nil
	}
	payload, err := sb.Sample(companyID, eventType, nil)
	if err != nil {
		return nil, err
	}
	overlay(payload, over)
	return payload, nil
}

func overlay(base, over map[string]any) {
	for k, v := range over {
		below, both := base[k].(map[string]any)
		if above, isObject := v.(map[string]any); isObject && both {
			overlay(below, above)
			continue
		}
		base[k] = v
	}
}

func (sb *Sandbox) requestOver(w http.ResponseWriter, r *http.Request) {
	id := digits(r.PathValue("id"))
	req, known := sb.Request(id)
	if !known {
		refuse(http.StatusNotFound, "the sandbox has no ERP request %s", r.PathValue("id")).write(w)
		return
	}
	ok(map[string]any{"request": req, "closed": req.IsClosed(), "outcome": req.Outcome()}).write(w)
}

func (sb *Sandbox) closedOver(w http.ResponseWriter, r *http.Request) {
	id := digits(r.PathValue("id"))
	sb.Closed(id)
	w.WriteHeader(http.StatusNoContent)
}

func (sb *Sandbox) clockOver(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Seconds float64 `json:"seconds"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		refuse(http.StatusBadRequest, "%v", err).write(w)
		return
	}
	sb.SkewClock(time.Duration(body.Seconds * float64(time.Second)))
	w.WriteHeader(http.StatusNoContent)
}

// asked reads the company of the path and a body without other fields than v has; false: it was refused.
func (sb *Sandbox) asked(w http.ResponseWriter, r *http.Request, v any) (int64, bool) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		refuse(http.StatusBadRequest, "%v", err).write(w)
		return 0, false
	}
	id := digits(r.PathValue("id"))
	return id, true
}

func (sb *Sandbox) failOver(w http.ResponseWriter, r *http.Request) {
	var rule FaultRule
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rule); err != nil {
		refuse(http.StatusBadRequest, "%v", err).write(w)
		return
	}
	if err := sb.Fail(rule); err != nil {
		refuse(http.StatusUnprocessableEntity, "%v", err).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
