package state

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Retry asks the workers to start the next attempt at a request's event now, if the event waits for it.
type Retry struct {
	Company int64     `json:"company,string"`
	Request int64     `json:"request,string"`
	At      time.Time `json:"at"` // when it was asked for; a worker ignores one that is older than RetryAge
}

// RetryAge is how long a Retry is kept.
const RetryAge = time.Minute

// retriesKey has the retries of the last minute as one JSON array, so that a worker reads them with one request.
const retriesKey = "retries"

// Retries returns the retries that are kept.
func (s *State) Retries(ctx context.Context) ([]Retry, error) {
	e, err := s.bucket.Get(ctx, retriesKey)
	if err != nil {
		return nil, err
	}
	return parseRetries(e.Value)
}

// Retry stores a retry, and removes those that are too old.
func (s *State) Retry(ctx context.Context, r Retry) error {
	return s.bucket.Update(ctx, retriesKey, func(old []byte) ([]byte, error) {
		all, err := parseRetries(old)
		if err != nil {
			return nil, err
		}
		return json.Marshal(append(slices.DeleteFunc(all, func(o Retry) bool { return r.At.Sub(o.At) > RetryAge }), r))
	})
}

func parseRetries(value []byte) (all []Retry, err error) {
	if value == nil {
		return nil, nil
	}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, fmt.Errorf("state %s holds a value that no service of Tieback wrote: %w", retriesKey, err)
	}
	return all, nil
}
