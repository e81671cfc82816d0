package procore_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// longest is the maximum length of an error with a text from Procore: the shortened text, the mark of the cut, and the words around it.
const longest = 1500

// refuses answers each call with a body.
func refuses(t *testing.T, status int, answer func(r *http.Request) string) *procore.Session {
	var n atomic.Int64
	return session(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			w.WriteHeader(status)
			fmt.Fprint(w, answer(r))
		}
	})
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A long message of Procore is shortened. Otherwise the broker would refuse the dead letter of a 422 with a message of 20 MB.
func TestLongMessageIsShortened(t *testing.T) {
	const huge = 7 << 20 // of three bytes each
	big := "is too long: " + strings.Repeat("€", huge/16)
	deep := any([]string{"is too\x00long"})
	for range 3000 {
		deep = map[string]any{"line_items": deep}
	}
	for name, body := range map[string]any{
		"message":        map[string]any{"message": "is too long: " + strings.Repeat("€", huge)},
		"error":          map[string]any{"error": big},
		"errors":         map[string]any{"errors": map[string]any{"name": []string{big, big}}},
		"many errors":    map[string]any{"errors": slices.Repeat([]string{"is too long"}, 1<<16)},
		"a long field":   map[string]any{"errors": map[string]any{big: "is odd"}},
		"no JSON":        big,
		"not an object":  []string{big},
		"any depth":      map[string]any{"errors": deep},
		"long and small": map[string]any{"errors": map[string]any{"a": "is too\x1b[2J\u202elong", "z": big}},
	} {
		raw := marshal(t, body)
		for _, status := range []int{401, 403, 422} {
			s := refuses(t, status, func(*http.Request) string { return raw })
			err := get(t, s)
			text, sentence := err.Error(), fault.UserMessage(err, "")
			if len(text) > longest || len(sentence) > longest || strings.ContainsAny(text+sentence, "\x00\x1b\u202e") {
				t.Errorf("%s, %d: an error of %d bytes, a sentence of %d: %.80q", name, status, len(text), len(sentence), text)
			}
			if name != "any depth" && name != "a long field" && status == 422 && !strings.Contains(sentence, "is too") {
				t.Errorf("%s: the reason is lost: %.100q", name, sentence)
			}
		}
	}
}

// Only the beginning of a long refusal is read. It is parsed as JSON nevertheless, wherever it ends.
func TestLongRefusalIsParsed(t *testing.T) {
	for n := range 40 {
		for name, body := range map[string]string{
			"a message":       `{"code":1,"message":"the name is odd: ` + strings.Repeat("x", n) + strings.Repeat(`\n\u00fc\"`, 20_000) + `"}`,
			"errors":          `{"errors":{"name":["the name is odd"` + strings.Repeat(" ", n) + strings.Repeat(`, "is too long"`, 20_000) + `]}}`,
			"errors of many":  `{"errors":{"name":["the name is odd"],"other":[` + strings.Repeat(" ", n) + strings.Repeat(`{"id":12,"why":"is too long"},`, 20_000) + `null]}}`,
			"without an end":  `{"errors":{"name":["the name is odd"` + strings.Repeat(" ", n) + strings.Repeat(`, "is too long"`, 20_000),
			"a short one cut": `{"errors":{"name":["the name is odd", "` + strings.Repeat("x", n),
		} {
			err := get(t, refuses(t, 422, func(*http.Request) string { return body }))
			if said := fault.UserMessage(err, ""); !strings.Contains(said, "the name is odd") || strings.ContainsAny(said[:min(len(said), 50)], `{[`) {
				t.Errorf("%s, %d: %.100q", name, n, said)
			}
		}
	}
}

// The message of an item that a sync action refuses is shortened, too.
func TestLongMessageOfItemIsShortened(t *testing.T) {
	s := refuses(t, 200, func(r *http.Request) string {
		return marshal(t, map[string]any{"entities": []any{}, "errors": []any{map[string]any{"id": 1, "errors": map[string]any{
			"name": []string{"is\x00odd: " + r.Header.Get("Authorization"), strings.Repeat("x", 1<<19)},
		}}}})
	})
	res, err := s.Sync(t.Context(), procore.SyncCall{Route: procore.SyncVendors, Envelope: ofCompany, Updates: []map[string]any{{"id": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	if why := res.Refused[0].Why; !strings.HasPrefix(why, "name: is odd: Bearer [secret], xxx") || len(why) > longest {
		t.Errorf("%d bytes: %.100q", len(why), why)
	}
}

// If Procore, or a proxy before it, echoes the request, its token appears neither in the log nor in the message to the user.
func TestEchoedSecretsAreRedacted(t *testing.T) {
	bare := func(r *http.Request) string { return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") }
	for name, answer := range map[string]func(r *http.Request) string{
		"the header": func(r *http.Request) string {
			return marshal(t, map[string]any{"message": "bad " + r.Header.Get("Authorization")})
		},
		"all headers": func(r *http.Request) string { return marshal(t, map[string]any{"errors": r.Header}) },
		"the token alone": func(r *http.Request) string {
			return marshal(t, map[string]any{"errors": map[string]any{bare(r): []string{bare(r)}}})
		},
		"no JSON":          func(r *http.Request) string { return "<pre>" + fmt.Sprint(r.Header) + "</pre>" },
		"a secret of ours": func(r *http.Request) string { return "client_secret=" + secret },
		"JSON in JSON":     func(r *http.Request) string { return marshal(t, map[string]any{"message": marshal(t, r.Header)}) },
	} {
		for _, status := range []int{302, 401, 403, 404, 422, 500} {
			var sent string
			var n atomic.Int64
			s := session(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/oauth/token" {
					w.Header().Set("Content-Type", "application/json")
					fmt.Fprintf(w, `{"access_token":"access-%dabcdef","token_type":"bearer","expires_in":5400}`, n.Add(1))
					return
				}
				sent = bare(r)
				w.Header().Set("Location", "/login/"+sent)
				w.WriteHeader(status)
				fmt.Fprint(w, answer(r))
			})
			err := get(t, s)
			if all := fmt.Sprintf("%v %+v %s", err, err, fault.UserMessage(err, "")); strings.Contains(all, sent) || strings.Contains(all, secret) || err == nil {
				t.Errorf("%s, %d: %s", name, status, all)
			}
		}
	}
}
