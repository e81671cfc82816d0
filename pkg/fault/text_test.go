package fault

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTextIsSanitized(t *testing.T) {
	const token = "tok-0123456789abcdef"
	for name, c := range map[string]struct{ in, want string }{
		"unchanged":                   {"name: is too long; größer als 5 €", "name: is too long; größer als 5 €"},
		"control characters":          {"a\x00b\x1b[31mc\r\nd\te\u0085f\x7f", "a b [31mc  d e f"},
		"right to left":               {"paid \u202e001\u2066 to\u2028you\ufeff", "paid  001  to you"},
		"not UTF-8":                   {"a\xff\xfeb", "a\uFFFDb"},
		"a known secret":              {"you sent " + token + "!", "you sent [secret]!"},
		"a known secret, in a URL":    {"code=se%2Fcr%2Bet&x", "code=[secret]&x"},
		"an unknown header":           {"Authorization: Bearer abc.def-ghi is wrong", "Authorization: Bearer [secret] is wrong"},
		"a header in JSON":            {`{"authorization":"bearer xyz","a":1}`, `{"authorization":"bearer [secret]","a":1}`},
		"a header in escaped JSON":    {`{\"h\":\"Bearer xyz\",\"a\":1}`, `{\"h\":\"Bearer [secret]\",\"a\":1}`},
		"a header in a list":          {`["BEARER", "xyz"]`, `["BEARER", "xyz"]`},
		"a header with a control":     {"Bearer\x00abc", "Bearer [secret]"},
		"a secret across the end":     {strings.Repeat("x", maxText-5) + token, strings.Repeat("x", maxText-5) + "[secr" + cutMark},
		"an unknown one across it":    {strings.Repeat("x", maxText-10) + " Bearer abcdef", strings.Repeat("x", maxText-10) + " Bearer [s" + cutMark},
		"many, and one at the end":    {strings.Repeat(token+" ", maxRead/len(token)) + token[:7], strings.Repeat("[secret] ", maxText/9+1)[:maxText] + cutMark},
		"short secrets are not words": {"the tax of the job", "the tax of the job"},
	} {
		if got := Text(c.in, token, "", "tax", "se/cr+et"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Removing secrets shortens a text. That must not bring a secret that was cut at the end of the read part into the result.
func TestSecretAtTheEndOfTheReadPartIsRemoved(t *testing.T) {
	secret := strings.Repeat("s", 4000)
	for n := range 8 {
		if got := Text(strings.Repeat("x", 500*n)+strings.Repeat(secret, 20), secret); strings.Contains(got, "sss") {
			t.Errorf("%.100q", got)
		}
	}
}

func TestTextIsCutBetweenCharacters(t *testing.T) {
	for n := range 4 {
		got := Text(strings.Repeat("x", n) + strings.Repeat("€", 1<<20))
		text, marked := strings.CutSuffix(got, cutMark)
		if !marked || len(text) > maxText || len(text) < maxText-4 || !utf8.ValidString(text) || strings.Contains(text, "\uFFFD") {
			t.Errorf("%d bytes, marked: %v", len(text), marked)
		}
		if again := Text(got); again != got {
			t.Errorf("cut again: %q", again[len(again)-40:])
		}
	}
	if got := Name(strings.Repeat("A", 500)); got != strings.Repeat("A", maxName)+cutMark {
		t.Errorf("a name: %q", got)
	}
}

// The texts of an error from another system are sanitized; its other fields are kept.
func TestErrorsOfOtherSystemsAreSanitized(t *testing.T) {
	long := strings.Repeat("<", 20<<20)
	cause := &Error{Class: Throttled, UserMessage: "No\x00: Bearer abc " + long, Field: "na\nme", RetryAfter: time.Minute, Reason: Busy, Err: errors.Join(io.EOF, errors.New(long))}
	err := From(FromERP, cause)
	if len(err.Error()) > maxError+len(cutMark) || len(UserMessage(err, "")) > maxError+len(cutMark) {
		t.Errorf("%d bytes, and a message of %d", len(err.Error()), len(UserMessage(err, "")))
	}
	if !strings.HasPrefix(UserMessage(err, ""), "No : Bearer [secret] <") || Field(err) != "na me" {
		t.Errorf("%.60q of field %q", UserMessage(err, ""), Field(err))
	}
	if ClassOf(err) != Throttled || RetryAfter(err) != time.Minute || ReasonOf(err) != Busy || SourceOf(err) != FromERP || !errors.Is(err, io.EOF) || !errors.Is(err, cause) {
		t.Errorf("%#v", err)
	}
	if again := From(FromProcore, err); again != err {
		t.Errorf("cleaned again: %#v", again)
	}
	sourced := From(FromERP, &Error{Source: FromProcore, Err: errors.New(long)})
	if len(sourced.Error()) > maxError+len(cutMark) || SourceOf(sourced) != FromProcore {
		t.Errorf("of a known source: %d bytes, from %s", len(sourced.Error()), SourceOf(sourced))
	}
	// An error of Tieback may quote a payload.
	if got := UserMessage(Permanentf("The amount %s is wrong.", long), ""); len(got) > maxError+len(cutMark) {
		t.Errorf("a message of Tieback: %d bytes", len(got))
	}
}
