package fault

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How many bytes are kept of what another system sent, without the mark that says that it was cut.
const (
	textMost = 1 << 10      // of one text
	nameMost = 120          // of a name
	saidMost = 4 * textMost // of an error or a sentence, which may have several texts
)

const cutMark = " … (cut)"

// leastSecret is the shortest secret that is looked for. A shorter one would be found in ordinary words.
const leastSecret = 4

// bearer is a credential as HTTP headers have it, whoever it belongs to.
var bearer = regexp.MustCompile(`(?i)(bearer)(?:\s|%20|\\?["'+:=])+[^\s"'\\,;<>&]+`)

// Text returns a text of another system fit for logs, dead letters and sentences: valid UTF-8 on one line, without
// control characters, at most about 1 KiB, with a mark where it was cut. "[secret]" stands in place of each of the
// secrets, and of what follows the word Bearer. Empty secrets are ignored, and so are those of less than 4 bytes.
func Text(s string, secrets ...string) string { return fit(s, textMost, secrets) }

// Name is Text for the name of a record: at most 120 bytes.
func Name(s string) string { return fit(s, nameMost, nil) }

// Clean returns err with its text, sentence and field as Text has them, but up to 4 KiB long. What err wraps is still
// found by errors.Is and errors.As. An error that needs no change is returned as it is, and so is nil.
func Clean(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	var e Error
	if known := (*Error)(nil); errors.As(err, &known) {
		e = *known
	}
	text, sentence, field := fit(err.Error(), saidMost, secrets), fit(e.UserMessage, saidMost, secrets), fit(e.Field, nameMost, secrets)
	if text == err.Error() && sentence == e.UserMessage && field == e.Field {
		return err
	}
	return &Error{
		Class: ClassOf(err), UserMessage: sentence, Field: field, RetryAfter: e.RetryAfter, Source: e.Source,
		Reason: ReasonOf(err), Since: SinceOf(err), Err: &cleaned{text, err},
	}
}

// cleaned is an error whose text was changed.
type cleaned struct {
	text string
	err  error
}

func (c *cleaned) Error() string { return c.text }
func (c *cleaned) Unwrap() error { return c.err }

// Cut returns the first bytes of s, at most most, and a mark if that is not all. It does not cut a character in two.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + cutMark
}

// Of a longer text only the first readMost bytes are looked at. A secret may be cut in two at their end, so the last
// edge bytes are dropped: no secret is longer.
const (
	readMost = 64 << 10
	edge     = 8 << 10
)

// fit redacts before it cuts: a cut through a secret would leave a part of it.
func fit(s string, most int, secrets []string) string {
	if len(s) > readMost {
		short := redacted(s[:readMost], secrets)
		return Cut(short, min(most, max(0, len(short)-edge)))
	}
	s = redacted(s, secrets)
	if strings.HasSuffix(s, cutMark) && len(s) <= most+len(cutMark) { // cut before
		return s
	}
	return Cut(s, most)
}

func redacted(s string, secrets []string) string {
	s = strings.TrimSpace(strings.Map(printed, strings.ToValidUTF8(s, "\uFFFD")))
	for _, secret := range secrets {
		if len(secret) < leastSecret {
			continue
		}
		s = strings.ReplaceAll(s, secret, "[secret]")
		s = strings.ReplaceAll(s, url.QueryEscape(secret), "[secret]")
	}
	return bearer.ReplaceAllString(s, "$1 [secret]")
}

// printed replaces what is not printed, or changes how the rest is, by a space.
func printed(r rune) rune {
	if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) || r == '\uFEFF' {
		return ' '
	}
	return r
}
