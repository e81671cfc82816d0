package remote

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

const secret = "s3cr3t-s3cr3t-s3cr3t"

func TestGoodSettings(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "client")
	for name, all := range map[string]map[string]string{
		"least":              {"address": "erp.example.com:7070"},
		"plaintext":          {"address": "ledger:7070", "tls": "off"},
		"token over TLS":     {"address": "erp.example.com:7070", "token": secret},
		"token to this host": {"address": "127.0.0.1:7070", "token": secret, "tls": "off"},
		"the same, IPv6":     {"address": "[::1]:7070", "token": secret, "tls": "off"},
		"the same, by name":  {"address": "localhost:7070", "token": secret, "tls": "off"},
		"all":                {"address": "10.0.0.1:7070", "tls": "on", "ca": ca.pem, "cert": cert, "key": key, "server_name": "erp", "token": secret, "timeout": "5m"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(all); err != nil {
				t.Error(err)
			}
		})
	}
	if s, err := parse(map[string]string{"address": "a:1"}); err != nil || s.tls == nil || s.timeout != 30*time.Second {
		t.Errorf("by default: %+v, %v", s, err)
	}
}

func TestInvalidSettingsNameTheFieldButNoSecret(t *testing.T) {
	ca := newAuthority(t)
	cert, _ := ca.issue(t, "client")
	_, strangersKey := ca.issue(t, "stranger")
	for name, c := range map[string]struct {
		field string
		all   map[string]string
	}{
		"no address":               {"address", map[string]string{"address": ""}},
		"no port":                  {"address", map[string]string{"address": "erp.example.com"}},
		"a URL":                    {"address", map[string]string{"address": "https://erp.example.com:7070"}},
		"a path":                   {"address", map[string]string{"address": "unix:/run/erp"}},
		"port 0":                   {"address", map[string]string{"address": "erp:0"}},
		"no host":                  {"address", map[string]string{"address": ":7070"}},
		"misspelt":                 {"adress", map[string]string{"adress": "a:1"}},
		"tls of a boolean":         {"tls", map[string]string{"tls": "true"}},
		"token in the clear":       {"token", map[string]string{"tls": "off", "token": secret}},
		"a name like a loopback":   {"token", map[string]string{"tls": "off", "token": secret, "address": "127.0.0.1.example.com:1"}},
		"short token":              {"token", map[string]string{"token": "s3cr3t"}},
		"token with a line break":  {"token", map[string]string{"token": secret + "\nx: y"}},
		"CA without TLS":           {"ca", map[string]string{"tls": "off", "ca": ca.pem}},
		"a path for a CA":          {"ca", map[string]string{"ca": "/etc/ca.pem"}},
		"certificate without key":  {"key", map[string]string{"cert": cert}},
		"key without certificate":  {"cert", map[string]string{"key": secret}},
		"a stranger's key":         {"cert", map[string]string{"cert": cert, "key": strangersKey}},
		"a key of another kind":    {"cert", map[string]string{"cert": cert, "key": secret}},
		"server name with a port":  {"server_name", map[string]string{"server_name": "erp:7070"}},
		"timeout without a unit":   {"timeout", map[string]string{"timeout": "30"}},
		"no time at all":           {"timeout", map[string]string{"timeout": "0s"}},
		"longer than the pipeline": {"timeout", map[string]string{"timeout": "1h"}},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{"address": "erp.example.com:7070"}
			maps.Copy(all, c.all)
			_, err := Open(t.Context(), 1, all)
			if err == nil || !strings.Contains(err.Error(), "connector."+c.field+":") {
				t.Fatalf("got %v", err)
			}
			if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != "connector."+c.field {
				t.Errorf("field %q, %v", fault.Field(err), fault.ClassOf(err))
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

func TestAllInvalidSettingsAreReportedAtOnce(t *testing.T) {
	_, err := Open(t.Context(), 1, map[string]string{"adress": "a:1", "timeout": "soon"})
	for _, field := range []string{"adress", "address", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), "connector."+field+":") {
			t.Errorf("%s is not reported: %v", field, err)
		}
	}
}
