package fault

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits, in bytes, of texts from other systems, without the mark of a cut text.
const (
	maxText  = 1 << 10     // of one text
	maxName  = 120         // of a name
	maxError = 4 * maxText // of an error or a user message, which may contain several texts
)

const cutMark = " … (cut)"

// minSecret is the length of the shortest secret that is removed. A shorter one would match ordinary words.
const minSecret = 4

// bearer matches a credential as in HTTP headers.
var bearer = regexp.MustCompile(`(?i)(bearer)(?:\s|%20|\\?["'+:=])+[^\s"'\\,;<>&]+`)

// Text sanitizes a text of another system for logs, dead letters and messages. The result is valid UTF-8 on
// one line, without control characters, at most about 1 KiB long, with a mark if it was cut. Each of the
// secrets, and what follows the word Bearer, is replaced by "[secret]". Secrets of less than 4 bytes are
// ignored.
func Text(s string, secrets ...string) string { return fit(s, maxText, secrets) }

// Name sanitizes the name of a record like Text, to at most 120 bytes.
func Name(s string) string { return fit(s, maxName, nil) }

// Clean returns err with its text, user message and field sanitized like Text, but up to 4 KiB long.
// errors.Is and errors.As still find what err wraps. An error that needs no change is returned unchanged, and
// so is nil.
func Clean(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	e := around(err)
	text, message, field := fit(err.Error(), maxError, secrets), fit(e.UserMessage, maxError, secrets), fit(e.Field, maxName, secrets)
	if text == err.Error() && message == e.UserMessage && field == e.Field {
		return err
	}
	e.UserMessage, e.Field, e.Err = message, field, &cleaned{text, err}
	return e
}

// cleaned is an error with a sanitized text.
type cleaned struct {
	text string
	err  error
}

func (c *cleaned) Error() string { return c.text }
func (c *cleaned) Unwrap() error { return c.err }

// Cut returns the first limit bytes of s, with a mark if that is not all. It does not cut inside a character.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + cutMark
}

// Only the first maxRead bytes of a longer text are read. A secret may be cut at their end, so the last edge
// bytes are dropped: no secret is longer.
const (
	maxRead = 64 << 10
	edge    = 8 << 10
)

// fit redacts before it cuts: a cut inside a secret would leave a part of it.
func fit(s string, limit int, secrets []string) string {
	if len(s) > maxRead {
		short := redacted(s[:maxRead], secrets)
		return Cut(short, min(limit, max(0, len(short)-edge)))
	}
	s = redacted(s, secrets)
	if strings.HasSuffix(s, cutMark) && len(s) <= limit+len(cutMark) { // it was already cut
		return s
	}
	return Cut(s, limit)
}

func redacted(s string, secrets []string) string {
	s = strings.TrimSpace(strings.Map(printed, strings.ToValidUTF8(s, "\uFFFD")))
	for _, secret := range secrets {
		if len(secret) < minSecret {
			continue
		}
		s = strings.ReplaceAll(s, secret, "[secret]")
		s = strings.ReplaceAll(s, url.QueryEscape(secret), "[secret]")
	}
	return bearer.ReplaceAllString(s, "$1 [secret]")
}

// printed replaces characters that are not printable, or that change how others are displayed, with a space.
func printed(r rune) rune {
	if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) || r == '\uFEFF' {
		return ' '
	}
	return r
}
