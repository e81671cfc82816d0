package setup

import (
	"context"
	"fmt"
	"strings"
)

// Action is the action of a step.
type Action string

// The actions. Keep changes nothing.
const (
	Create Action = "create"
	Change Action = "change"
	Remove Action = "remove"
	Keep   Action = "keep"
)

// Step is a step of a plan.
type Step struct {
	Action Action `json:"action"`
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Done   bool   `json:"done"`

	do func(context.Context) error
}

// Plan is the list of steps in order.
type Plan struct {
	Company int64    `json:"company"`
	Steps   []Step   `json:"steps"`
	Notes   []string `json:"notes"`   // notes for the user
	Restart []string `json:"restart"` // changes that take effect after a restart of the services; set by Apply

	work *work
}

// Changes returns the number of steps that change something.
func (p *Plan) Changes() (n int) {
	for _, s := range p.Steps {
		if s.Action != Keep {
			n++
		}
	}
	return n
}

// Count returns the number of steps with an action.
func (p *Plan) Count(a Action) (n int) {
	for _, s := range p.Steps {
		if s.Action == a {
			n++
		}
	}
	return n
}

// Apply runs the steps in order and calls done after each. After an error the earlier steps stay done, and
// another setup continues from there.
func (p *Plan) Apply(ctx context.Context, done func(Step)) error {
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.do == nil {
			continue
		}
		if err := s.do(ctx); err != nil {
			return p.work.clean(fmt.Errorf("%s: %w", s.What, err))
		}
		s.Done = true
		done(*s)
	}
	return p.work.afterwards(ctx)
}

func (p *Plan) add(a Action, do func(context.Context) error, what, detail string) {
	p.Steps = append(p.Steps, Step{Action: a, What: what, Detail: detail, do: do})
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// cleaned is an error without the company's secrets, whatever a response contained.
type cleaned struct {
	text string
	err  error
}

func (c cleaned) Error() string { return c.text }

// Unwrap returns the original error, for errors.Is. Its text must not be printed.
func (c cleaned) Unwrap() error { return c.err }

func (w *work) clean(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range w.secrets() {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return cleaned{text, err}
}

func (w *work) secrets() (all []string) {
	for _, t := range w.tokens {
		all = append(all, string(t))
	}
	if w.company == nil {
		return all
	}
	secret := w.company.Client.Credentials().Secret
	return append(all, string(secret))
}
