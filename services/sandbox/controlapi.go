package sandbox

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/tieback/tieback/pkg/catalogue/dictionary"
)

// control registers the sandbox's control API, which needs no credentials.
//
//	POST /sandbox/companies/{id}/press/{event_type}  Press; the body replaces fields of a new Sample
//	GET  /sandbox/requests/{id}                      the request with its status and details
//	GET  /sandbox/calls                              Counts and Calls
//	POST /sandbox/fail                               Fail, with a FaultRule
//	POST /sandbox/heal                               Heal
//	POST /sandbox/companies/{id}/recipes/{name}      Follow; services/sandbox/README.md has the recipes
//	GET  /sandbox/                                   a page for all of this
func (sb *Sandbox) control(mux *http.ServeMux) {
	mux.HandleFunc("POST /sandbox/companies/{id}/press/{event_type}", sb.handlePress)
	mux.HandleFunc("GET /sandbox/requests/{id}", sb.handleRequest)
	mux.HandleFunc("GET /sandbox/calls", func(w http.ResponseWriter, _ *http.Request) {
		ok(map[string]any{"total": sb.TotalCalls(), "counts": sb.Counts(), "calls": sb.Calls()}).write(w)
	})
	mux.HandleFunc("POST /sandbox/fail", sb.handleFail)
	mux.HandleFunc("POST /sandbox/heal", func(w http.ResponseWriter, _ *http.Request) {
		sb.Heal()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /sandbox/companies/{id}/recipes/{name}", func(w http.ResponseWriter, r *http.Request) {
		sb.created(w)(sb.Follow(parseDigits(r.PathValue("id")), r.PathValue("name")))
	})
	sb.page(mux)
}

func (sb *Sandbox) handlePress(w http.ResponseWriter, r *http.Request) {
	id := parseDigits(r.PathValue("id"))
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
	sb.created(w)(sb.Press(id, eventType, payload))
}

// created answers with a new request, or with the error.
func (sb *Sandbox) created(w http.ResponseWriter) func(requestID int64, err error) {
	return func(requestID int64, err error) {
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
}

// overridden returns a new sample with the fields of the body replaced. For an undocumented type it returns the body.
func (sb *Sandbox) overridden(companyID int64, eventType string, c *call) (map[string]any, error) {
	var over map[string]any
	if len(c.body) > 0 {
		if err := c.decode(&over); err != nil {
			return nil, err
		}
	}
	if _, known := dictionary.Sample(eventType); !known && over != nil {
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

func (sb *Sandbox) handleRequest(w http.ResponseWriter, r *http.Request) {
	id := parseDigits(r.PathValue("id"))
	req, known := sb.Request(id)
	if !known {
		refuse(http.StatusNotFound, "the sandbox has no ERP request %s", r.PathValue("id")).write(w)
		return
	}
	ok(map[string]any{"request": req, "closed": req.IsClosed(), "outcome": req.Outcome()}).write(w)
}

func (sb *Sandbox) handleFail(w http.ResponseWriter, r *http.Request) {
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
