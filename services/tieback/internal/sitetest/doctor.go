package sitetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/tieback/command"
	doctorcommand "github.com/tieback/tieback/services/tieback/doctor"
)

// Diagnosis is the output of `tieback doctor`.
type Diagnosis struct {
	*testing.T
	Code     int // exit code
	Findings []doctor.Finding
	Text     string // the output
}

// Doctor runs `tieback doctor`.
func (s *Site) Doctor(args ...string) Diagnosis {
	s.Helper()
	began := time.Now()
	e := Diagnosis{T: s.T}
	var out bytes.Buffer
	cmd := doctorcommand.Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"-o", "json"}, args...))
	switch err := cmd.ExecuteContext(s.Context()); {
	case errors.Is(err, command.ErrFailed):
		e.Code = 1
	case err != nil:
		s.Fatal(err)
	}
	s.printed.Write(out.Bytes())
	var d doctor.Report
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		s.Fatalf("%v: %s", err, out.String())
	}
	if e.Findings, e.Text = d.Findings, out.String(); d.Problems > 0 != (e.Code == 1) {
		s.Errorf("%d problems and exit code %d", d.Problems, e.Code)
	}
	for _, f := range d.Findings {
		if f.Level == doctor.Problem && f.Action == "" || f.Text == "" || strings.Contains(f.Text, "\n") {
			s.Errorf("a problem without what to do, or not in one line: %+v", f)
		}
	}
	if took := time.Since(began); took > 40*time.Second {
		s.Errorf("it took %v", took)
	}
	return e
}

// Has checks that there is a finding whose text or advice contains says.
func (e Diagnosis) Has(check string, level doctor.Level, says string) {
	e.Helper()
	if !slices.ContainsFunc(e.Findings, func(f doctor.Finding) bool {
		return f.Check == check && f.Level == level && strings.Contains(f.Text+" → "+f.Action, says)
	}) {
		e.Errorf("no %s of %s that says %q in\n%s", level, check, says, e.Text)
	}
}

// OnlyProblem checks that there is such a problem, and none of another check.
func (e Diagnosis) OnlyProblem(check, says string) {
	e.Helper()
	e.Has(check, doctor.Problem, says)
	for _, f := range e.Findings {
		if f.Level == doctor.Problem && f.Check != check {
			e.Errorf("also a problem: %+v", f)
		}
	}
}

// Broker starts a NATS server with the lines of config in its configuration, and sets TIEBACK_NATS_URL.
func (s *Site) Broker(config string) *server.Server {
	s.Helper()
	s.Write("nats.conf", fmt.Sprintf("listen: \"127.0.0.1:-1\"\nmax_payload: 8MB\njetstream { store_dir: %q }\n%s\n", s.Path("nats"), config))
	o, err := server.ProcessConfigFile(s.Path("nats.conf"))
	s.Must(err)
	ns := bustest.Start(s.T, *o)
	s.Setenv("TIEBACK_NATS_URL", ns.ClientURL())
	return ns
}
