package procore

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// What the store has is read as of now: calls under way are taken off, a window that is over is whole.
func TestAStandingIsReadAsOfNow(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	var b budget
	if err := json.Unmarshal([]byte(`{"hour":{"limit":3600,"left":3000,"ends":1800000600000},"spike":{"limit":25,"left":3,"ends":1799999990000},`+
		`"blocked":1800000005000,"asked":5000,"claims":{"a":{"calls":4,"until":1800000020000}}}`), &b); err != nil {
		t.Fatal(err)
	}
	s := b.status(7, now)
	if s.Hour.Limit != 3600 || s.Hour.Remaining != 2996 || !s.Hour.Reset.Equal(now.Add(10*time.Minute)) {
		t.Errorf("the hour stands at %+v", s.Hour)
	}
	if s.Spike.Limit != 25 || s.Spike.Remaining != 21 || !s.Spike.Reset.IsZero() {
		t.Errorf("ten seconds stand at %+v", s.Spike)
	}
	if !s.Blocked.Equal(now.Add(5 * time.Second)) {
		t.Errorf("blocked until %v", s.Blocked)
	}
}

// A value is read by those who have the client's secret, at its own key, and no other value is.
func TestAStandingIsOfTheClientsOwnProcesses(t *testing.T) {
	client := &company.Client{Name: "acme"} // without credentials: the secret is ""
	b := budget{limits: limits{Spike: running(25, 3, noon+8000)}}
	good, err := seal(b, "client-acme", "", 41)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ReadLimitStatus(good, 7, client, time.UnixMilli(noon)); err != nil || s.Spike.Remaining != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	other, _ := seal(b, "client-other", "", 41)
	secret, _ := seal(b, "client-acme", "other", 41)
	for name, raw := range map[string][]byte{
		"nonsense": []byte("nonsense"), "nothing": {}, "null": []byte("null"), "no MAC": []byte(`{"budget":{},"after":41}`),
		"another key": other, "another secret": secret, "too large": append(good, strings.Repeat(" ", maxValue)...),
		"changed":         []byte(strings.Replace(string(good), `"left":3`, `"left":0`, 1)),
		"another version": []byte(strings.Replace(string(good), `"after":41`, `"after":42`, 1)),
		"the plain value": []byte(`{"spike":{"limit":25,"left":0,"ends":1795600008000}}`),
	} {
		if s, err := ReadLimitStatus(raw, 7, client, time.UnixMilli(noon)); !errors.Is(err, errForeign) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
