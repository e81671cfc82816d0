package conformance

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"
)

// Options are the options of a run. The zero value runs all cases.
type Options struct {
	Run     *regexp.Regexp // only cases whose names match; nil: all
	Timeout time.Duration  // of a case; 0: two minutes
	Done    func(Result)   // called after each case; nil: not called
}

const (
	defaultTimeout = 2 * time.Minute
	// grace is the time that a driver has to return after the timeout of a case.
	grace = 5 * time.Second
)

// Run runs the cases one after the other. It returns an error if it can't begin: the target is invalid, or
// the connector does not answer. The findings of the cases are in the report.
func Run(ctx context.Context, target Target, o Options) (Report, error) {
	s, err := open(ctx, target)
	if err != nil {
		return Report{}, err
	}
	defer s.close()
	r := Report{ERP: s.caps.Name, Version: s.caps.Version}
	for _, c := range Cases() {
		if o.Run != nil && !o.Run.MatchString(c.Name) {
			continue
		}
		if ctx.Err() != nil {
			r.Interrupted = true
			break
		}
		got := s.try(ctx, c, o.Timeout)
		if ctx.Err() != nil && got.Outcome == Failed { // possibly because ctx ended
			r.Interrupted = true
			break
		}
		r.Results = append(r.Results, got)
		if o.Done != nil {
			o.Done(got)
		}
	}
	r.Nothing = s.nothing(r)
	return r, nil
}

// nothing returns why a run without failures proved nothing.
func (s *suite) nothing(r Report) string {
	if len(s.with(puts, simplest)) == 0 {
		return "the connector declares no entity with put"
	}
	if r.Count(Passed) == 0 {
		return "no case ran"
	}
	return ""
}

// Test runs each case as a subtest. A case that is left out is skipped with the reason.
func Test(t *testing.T, target Target) {
	s, err := open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var r Report
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			got := s.try(t.Context(), c, 0)
			r.Results = append(r.Results, got)
			switch got.Outcome {
			case Failed:
				t.Errorf("%s\nIn a real ledger: %s", got.Why, c.Ledger)
			case LeftOut:
				t.Skip(got.Why)
			case Passed:
			}
		})
	}
	if why := s.nothing(r); why != "" && !t.Failed() {
		t.Errorf("nothing was proved: %s", why)
	}
}

// leftOut is the error of a case that can't run, with the reason.
type leftOut string

func (l leftOut) Error() string { return string(l) }

func leaveOut(format string, args ...any) error { return leftOut(fmt.Sprintf(format, args...)) }

func isLeftOut(err error) bool {
	var l leftOut
	return errors.As(err, &l)
}

// findings joins what the checks of a case found. It returns a leftOut only if no check ran.
func findings(checks []error) error {
	if i := slices.IndexFunc(checks, isLeftOut); i >= 0 && !slices.ContainsFunc(checks, func(err error) bool { return !isLeftOut(err) }) {
		return checks[i]
	}
	return errors.Join(slices.DeleteFunc(checks, isLeftOut)...)
}

// failure is the value of the panic that ends a case, like testing.T's FailNow. Only the goroutine that runs the case
// may panic with it. A case does so when a call fails that must succeed before there is anything to check; what it
// finds wrong, it returns as an error.
type failure struct{ err error }

// must returns v, or ends the case with err.
func must[T any](v T, err error) T {
	check(err)
	return v
}

// check ends the case with err, unless err is nil.
func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// catch calls f. It returns the error that f returns, or that ends the case within f.
func catch(f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.err
		default:
			panic(p)
		}
	}()
	return f()
}

// try runs one case within its timeout. If a driver does not return even after its context ended, try leaves
// the call running, and runs no other case with this driver.
func (s *suite) try(ctx context.Context, c Case, timeout time.Duration) Result {
	if s.stuck != "" {
		return Result{Case: c, Outcome: LeftOut, Why: "the connector did not return from the case " + s.stuck}
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	overdue := make(chan struct{}) // closed when the grace period is over
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(overdue) }) })()
	start, done := time.Now(), make(chan error, 1)
	go func() { done <- catch(func() error { return c.run(ctx, s) }) }()
	var err error
	select {
	case err = <-done:
	case <-overdue:
		s.stuck = c.Name
		err = fmt.Errorf("a call did not return within %v after its context ended", grace)
	}
	return result(c, err, time.Since(start))
}

func result(c Case, err error, took time.Duration) Result {
	r := Result{Case: c, Took: took}
	var left leftOut
	switch {
	case err == nil:
	case errors.As(err, &left):
		r.Outcome, r.Why = LeftOut, left.Error()
	default:
		r.Outcome, r.Why = Failed, err.Error()
	}
	return r
}
