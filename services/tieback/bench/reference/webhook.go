package reference

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strconv"
)

// webhook answers 204 when the delivery is on disk.
func (p *pipeline) webhook(token string) http.HandlerFunc {
	want := []byte("Bearer " + token)
	return func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<10))
		if err != nil {
			http.Error(w, "the body can't be read", http.StatusBadRequest)
			return
		}
		var delivery struct {
			Resource int64 `json:"resource_id"`
		}
		if err := json.Unmarshal(body, &delivery); err != nil || delivery.Resource == 0 {
			http.Error(w, "not a delivery", http.StatusBadRequest)
			return
		}
		if err := p.publish(r.Context(), "fetch", strconv.FormatInt(delivery.Resource, 10), body); err != nil {
			log.Printf("webhook: %v", err)
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
