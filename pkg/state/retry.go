package state

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Retry asks the workers to start the next attempt at a request's event now, if the event waits for it.
type Retry struct {
	Company int64     `json:"company,string"`
	Request int64     `json:"request,string"`
	At      time.Time `json:"at"` // when it was asked for, on the clock of who asked; it only distinguishes the retries of a request
}

// retriesKey has the newest maxRetries retries as one JSON array, so that a worker reads them with one request. No clock decides which
// are kept, as those of the console and the workers may differ.
const (
	retriesKey = "retries"
	maxRetries = 200
)

// Retries returns the retries that are kept, the oldest first.
func (s *State) Retries(ctx context.Context) ([]Retry, error) {
	e, err := s.bucket.Get(ctx, retriesKey)
	if err != nil {
		return nil, err
	}
	return parseRetries(e.Value)
}

// Retry stores a retry.
func (s *State) Retry(ctx context.Context, r Retry) error {
	return s.bucket.Update(ctx, retriesKey, func(old []byte) ([]byte, error) {
		all, err := parseRetries(old)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
		return json.Marshal(all[max(0, len(all)-maxRetries):])
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
