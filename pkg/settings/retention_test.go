package settings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// A retention that would let a message be removed while something needs it is refused, with the variable and the reason.
func TestRetention(t *testing.T) {
	s, err := load(map[string]string{"TIEBACK_RETENTION_EVENT": "72h", "TIEBACK_RETENTION_DELIVERY": "keep"})
	if err != nil || s.Retention != (topology.Retention{Event: 72 * time.Hour}) {
		t.Errorf("%+v, %v", s.Retention, err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string // in the error; "": none
	}{
		"all long":                            {map[string]string{"DELIVERY": "720h", "EVENT": "720h", "OUTCOME": "720h", "CLOSED": "720h"}, ""},
		"as short as possible":                {map[string]string{"DELIVERY": "72h", "EVENT": "48h", "OUTCOME": "48h", "CLOSED": "72h"}, ""},
		"not a duration":                      {map[string]string{"EVENT": "7d"}, "TIEBACK_RETENTION_EVENT"},
		"Procore delivers it again":           {map[string]string{"DELIVERY": "71h"}, "TIEBACK_RETENTION_DELIVERY: 71h0m0s is too short: it must be at least 72h0m0s"},
		"the delivery goes before the event":  {map[string]string{"DELIVERY": "119h"}, "TIEBACK_RETENTION_DELIVERY"},
		"the payload goes before the outcome": {map[string]string{"EVENT": "47h"}, "TIEBACK_RETENTION_EVENT"},
		"the outcome goes before the event":   {map[string]string{"OUTCOME": "119h"}, "TIEBACK_RETENTION_OUTCOME"},
		"than the default of events":          {map[string]string{"EVENT": "200h"}, "TIEBACK_RETENTION_OUTCOME"},
		"the close-out before the delivery":   {map[string]string{"CLOSED": "215h"}, "TIEBACK_RETENTION_DELIVERY"},
		"the close-out before the outcome":    {map[string]string{"OUTCOME": "400h"}, "TIEBACK_RETENTION_CLOSED"},
	} {
		env := map[string]string{}
		for k, v := range c.env {
			env["TIEBACK_RETENTION_"+k] = v
		}
		if _, err := load(env); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	deadline := map[string]string{"TIEBACK_SYNC_DEADLINE": "100h", "TIEBACK_RETENTION_EVENT": "120h"}
	if _, err := load(deadline); err == nil || !strings.Contains(err.Error(), "124h") {
		t.Errorf("an event with a deadline of 100 h: %v", err)
	}
}
