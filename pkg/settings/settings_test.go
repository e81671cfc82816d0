package settings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/settings"
)

func load(env map[string]string) (settings.Settings, error) {
	return settings.Load(func(name string) string { return env[name] })
}

func TestDefaults(t *testing.T) {
	s, err := load(nil)
	if err != nil || s.Data != ".tieback" || s.ProcoreAPIURL != "https://api.procore.com" || s.IngestAddr != ":8080" || s.Replicas != 1 || s.TopologyManaged ||
		s.Deadline != 15*time.Minute || s.SyncDeadline != 2*time.Hour || s.ConsoleKeep != 366*24*time.Hour {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestErrorNamesVariable(t *testing.T) {
	for name, bad := range map[string]string{
		"TIEBACK_NATS_REPLICAS": "0", "TIEBACK_NATS_TOPOLOGY": "maybe", "TIEBACK_LOG_LEVEL": "loud", "TIEBACK_INGEST_ADDR": "8080", "TIEBACK_ADMIN_ADDR": "nowhere",
		"TIEBACK_DEADLINE": "15", "TIEBACK_SYNC_DEADLINE": "100ms", "TIEBACK_PROCORE_API_URL": "procore.com", "TIEBACK_PROCORE_LOGIN_URL": "ftp://login", "TIEBACK_TRACES": "collector:4318", "TIEBACK_CONSOLE_KEEP": "366d",
	} {
		if _, err := load(map[string]string{name: bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, bad, err)
		}
	}
}

func TestTopologyManaged(t *testing.T) {
	for text, want := range map[string]bool{"": false, "create": false, "managed": true} {
		if s, err := load(map[string]string{"TIEBACK_NATS_TOPOLOGY": text}); err != nil || s.TopologyManaged != want {
			t.Errorf("%q: TopologyManaged is %v, %v", text, s.TopologyManaged, err)
		}
	}
}
