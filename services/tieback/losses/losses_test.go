package losses

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLossIsListedUntilAccepted(t *testing.T) {
	commandtest.Settings(t, 7)
	b, leave := commandtest.Embedded(t)
	for n := range int64(20) {
		m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, n+1), Stream: bus.Event.Stream(), Sequence: uint64(n + 1), Data: []byte("x")} //nolint:gosec // a count
		m.RawSubject = m.Subject.String()
		if err := b.DeadLetter(t.Context(), "export", m, errors.New("a mistake")); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	for _, c := range []struct {
		line   string
		code   int
		want   string
		before func()
	}{
		{line: "--accept", code: 2, want: "--accept needs --reason"},
		{line: "--reason x", code: 2, want: "give --accept too"},
		{line: "-o yaml", code: 2, want: "table or json"},
		{line: "", code: 0, want: "No losses found"},
		{line: "", code: 1, want: "TIEBACK_DEAD has lost 1 message", before: func() { commandtest.Damage(t, bus.Dead.Stream(), 0.5, false) }},
		{line: "-o json", code: 1, want: `"missing": 1`},
		{line: "--accept --reason restored", code: 0, want: "accepted: TIEBACK_DEAD has lost 1 message"},
		{line: "", code: 0, want: "No losses found"},
	} {
		if c.before != nil {
			c.before()
		}
		if code, out, errs := commandtest.Run(t.Context(), Command(), c.line); code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s%s", c.line, code, c.code, c.want, out, errs)
		}
	}
}
