package state

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Pause keeps the workers from starting events of a company. Events are still fetched, and their deadlines do not move.
type Pause struct {
	Company int64     `json:"company,string"`
	Stage   string    `json:"stage"`  // the worker of a category, such as export; "": all workers
	Who     string    `json:"who"`    // the operator
	Reason  string    `json:"reason"` // for operators
	At      time.Time `json:"at"`
}

// replaces reports whether two pauses have the same company and stage.
func (p Pause) replaces(q Pause) bool { return p.Company == q.Company && p.Stage == q.Stage }

// pausesKey has all pauses as one JSON array, so that a worker reads them with one request.
const pausesKey = "pauses"

// Pauses returns all pauses.
func (s *State) Pauses(ctx context.Context) ([]Pause, error) {
	e, err := s.bucket.Get(ctx, pausesKey)
	if err != nil {
		return nil, err
	}
	return parsePauses(e.Value)
}

// Pause stores a pause. It replaces a pause of the same company and stage.
func (s *State) Pause(ctx context.Context, p Pause) error {
	return s.changePauses(ctx, func(all []Pause) []Pause { return append(slices.DeleteFunc(all, p.replaces), p) })
}

// Resume ends the pause of a company's stage, or of all its workers if stage is "". It is not an error if there is none.
func (s *State) Resume(ctx context.Context, company int64, stage string) error {
	p := Pause{Company: company, Stage: stage}
	return s.changePauses(ctx, func(all []Pause) []Pause { return slices.DeleteFunc(all, p.replaces) })
}

func (s *State) changePauses(ctx context.Context, change func([]Pause) []Pause) error {
	return s.bucket.Update(ctx, pausesKey, func(old []byte) ([]byte, error) {
		all, err := parsePauses(old)
		if err != nil {
			return nil, err
		}
		return json.Marshal(change(all))
	})
}

func parsePauses(value []byte) ([]Pause, error) {
	all := []Pause{}
	if value == nil {
		return all, nil
	}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, fmt.Errorf("state %s holds a value that no service of Tieback wrote: %w", pausesKey, err)
	}
	return all, nil
}
