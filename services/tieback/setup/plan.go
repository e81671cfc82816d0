package setup

import (
	"context"
	"fmt"
	"strings"
)

// Action is what a step does.
type Action string

// The actions. Keep does nothing.
const (
	Create Action = "create"
	Change Action = "change"
	Remove Action = "remove"
	Keep   Action = "keep"
)

// Step is a line of a plan.
type Step struct {
	Action Action `json:"action"`
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Done   bool   `json:"done"`

	do func(context.Context) error
}

// Plan is what is to be done, in its order.
type Plan struct {
	Company int64    `json:"company"`
	Steps   []Step   `json:"steps"`
	Notes   []string `json:"notes"`   // what somebody should know
	Restart []string `json:"restart"` // what running services take up with a restart only; filled by Apply

	work *work
}

// Changes counts the steps that do something.
func (p *Plan) Changes() (n int) {
	for _, s := range p.Steps {
		if s.Action != Keep {
			n++
		}
	}
	return n
}

// Count counts the steps of an action.
func (p *Plan) Count(a Action) (n int) {
	for _, s := range p.Steps {
		if s.Action == a {
			n++
		}
	}
	return n
}

// Apply does the steps in order and tells each that is done. After an error the steps before it stay done, and
// another setup goes on from there.
func (p *Plan) Apply(ctx context.Context, tell func(Step)) error {
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.do == nil {
			continue
		}
		if err := s.do(ctx); err != nil {
			return p.work.clean(fmt.Errorf("%s: %w", s.What, err))
		}
		s.Done = true
		tell(*s)
	}
	return p.work.afterwards(ctx)
}

func (p *Plan) add(a Action, do func(context.Context) error, what, detail string) {
	p.Steps = append(p.Steps, Step{Action: a, What: what, Detail: detail, do: do})
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// cleaned is an error in which no secret of the company is left, whatever others put into their answers.
type cleaned struct {
	text string
	err  error
}

func (c cleaned) Error() string { return c.text }

// Unwrap gives the error as it was, for errors.Is; its own text is not to be printed.
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
