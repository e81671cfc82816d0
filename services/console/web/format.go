package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/catalogue"
	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

var funcs = template.FuncMap{
	"asset": asset, "label": typeLabel, "state": stateLabel, "cut": cut, "span": span, "spark": spark, "count": count, "rate": rate, "waiting": waiting,
	"lines": diffLines, "company": companyName, "join": strings.Join, "query": withQuery, "percent": percent, "plural": plural, "cause": causeLabel, "zones": func() []string { return zones },
	"sentence": sentence, "visible": visible, "name": nameLabel, "series": seriesLabel, "latest": latest, "yes": yes, "source": sourceLabel, "dict": dict, "add": func(a, b int) int { return a + b }, "stage": stageLabel, "tryable": tryable, "title": stepTitle, "indent": indentJSON, "since": sinceLabel, "run": stepRun,
}

// dict returns the arguments of a template, of names and values.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

// tryable reports whether a request may wait for another attempt of a worker, so that the page to try it now is offered.
func tryable(r *v1.RequestRow) bool {
	return (r.GetState() == "open" || r.GetState() == "attention") && r.GetDeadLetter() == 0 && r.GetEnded() == nil && slices.Contains(stages, r.GetStage())
}

// zones are offered on each page. Others can be given as ?tz=.
var zones = []string{
	"UTC", "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu", "America/Toronto",
	"Europe/London", "Europe/Berlin", "Asia/Dubai", "Australia/Sydney", "Pacific/Auckland",
}

// visible returns text that can be shown: control characters, and characters that change the direction of the text around
// them, become U+FFFD. Line ends and tabs stay.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c, r == 0xfeff:
			return utf8.RuneError
		}
		return r
	}, text)
}

// cleanMessage makes all texts of a message visible, except the one that is edited and sent back.
func cleanMessage(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.FullName() == "tieback.operator.v1.GetDeadLetterResponse.message":
		case f.IsMap():
		case f.IsList():
			l := v.List()
			for i := range l.Len() {
				switch f.Kind() {
				case protoreflect.MessageKind:
					cleanMessage(l.Get(i).Message())
				case protoreflect.StringKind:
					l.Set(i, protoreflect.ValueOfString(visible(l.Get(i).String())))
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			cleanMessage(v.Message())
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(visible(v.String())))
		}
		return true
	})
}

// cut returns at most n characters of a text.
func cut(n int, text string) string {
	if len(text) <= n {
		return text
	}
	for i := range text {
		if n--; n < 0 {
			return strings.TrimSpace(text[:i]) + "…"
		}
	}
	return text
}

// sentence returns text with a capital letter and a full stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	text = sentenceCase(text)
	if strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
}

// sentenceCase returns text with a capital letter.
func sentenceCase(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(r)) + text[n:]
}

// indentJSON returns a JSON document with a line for each field, and any other text as it is.
func indentJSON(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "", "  ") != nil {
		return text
	}
	return b.String()
}

// stepTitle says what a step of a request is. Its details are shown below it.
func stepTitle(s *v1.Step) string {
	switch {
	case s.GetDelivery() != nil && s.GetDelivery().GetEventId() == "":
		return "Found by a sweep"
	case s.GetDelivery() != nil:
		return "Webhook received"
	case s.GetEvent() != nil:
		return "Fetched from Procore"
	case s.GetOutcome().GetSkipReason() != "":
		return "Not processed"
	case s.GetOutcome() != nil && s.GetKind() == "closed":
		return "Reported to Procore"
	case s.GetOutcome() != nil:
		return "Processed by " + stageLabel(s.GetBy())
	case s.GetDeadLetter() != nil:
		return "Given up by " + stageLabel(s.GetDeadLetter().GetStage())
	case s.GetResolution() != nil:
		return sentenceCase(s.GetResolution().GetAction())
	}
	return cut(2000, s.GetText())
}

// stepRun says to which run of the request a step belongs; "": the first.
func stepRun(s *v1.Step) string {
	run := s.GetRun()
	if run != "" && strings.Trim(run, "0123456789") == "" {
		return "replay of dead letter " + run
	}
	return cut(40, run)
}

// typeLabel returns an event type in words.
func typeLabel(name string) string {
	if name == "" || name == catalogue.Unknown {
		return "unknown type"
	}
	if e, ok := catalogue.Lookup(name); ok {
		return e.Label()
	}
	return strings.ReplaceAll(name, "_", " ")
}

func labelOf(labels map[string]string) func(string) string {
	return func(name string) string {
		return cmp.Or(labels[name], strings.ReplaceAll(name, "-", " "))
	}
}

var (
	stateLabel  = labelOf(map[string]string{"attention": "needs attention"})
	causeLabel  = labelOf(map[string]string{"erp": "ERP", "procore": "Procore", "tieback": "Tieback"})
	nameLabel   = labelOf(nil) // of a state or class whose name is its label
	sinceLabel  = labelOf(map[string]string{"created": "its creation", "delivery": "the webhook", "event": "the fetch", "outcome": "the outcome", "dead_letter": "the dead letter", "resolution": "the resolution", "": "the step before"})
	waiting     = labelOf(map[string]string{"erp": "ERP", "procore": "Procore", "quota": "quota", "person": "a person"})
	seriesLabel = labelOf(map[string]string{
		"quota_left": "Share of the hour’s Procore calls that is left", "share": "Share of all companies’ requests that ended", "wait": "Age of its oldest open request", "wait_others": "The same of the other companies, median",
	})
	stageLabel = labelOf(map[string]string{"": "all stages", "status-reporter": "status reporter"})
)

func sourceLabel(name string) string {
	return cmp.Or(map[string]string{"erp": "ERP", "procore": "Procore", "": "Tieback"}[name], name)
}

func companyName(id int64, name string) string {
	if name != "" {
		return name
	}
	return "Company " + strconv.FormatInt(id, 10)
}

// When returns a time: of today only the time of day, otherwise the date too.
func (v *view) When(t *timestamppb.Timestamp) template.HTML {
	if t == nil {
		return `<span class="none">not known</span>`
	}
	at := t.AsTime().In(v.zone)
	layout := "2 Jan 2006 15:04"
	if now := v.at.In(v.zone); at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		layout = "15:04:05"
	} else if at.Year() == now.Year() {
		layout = "2 Jan 15:04"
	}
	return timeTag(at, at.Format(layout))
}

// Full returns a time with its date and zone.
func (v *view) Full(t *timestamppb.Timestamp) template.HTML {
	if t == nil {
		return `<span class="none">not known</span>`
	}
	at := t.AsTime().In(v.zone)
	return timeTag(at, at.Format("2006-01-02 15:04:05 MST"))
}

// Until returns how long it is until a time, or since.
func (v *view) Until(t *timestamppb.Timestamp) string {
	d := t.AsTime().Sub(v.at)
	if d < 0 {
		return words(-d) + " ago"
	}
	return "in " + words(d)
}

// Age returns the time since t.
func (v *view) Age(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return words(max(0, v.at.Sub(t.AsTime())))
}

// timeTag returns a time element. text is a formatted time.
func timeTag(at time.Time, text string) template.HTML {
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, //nolint:gosec // only formatted times and escaped zone names
		at.UTC().Format(time.RFC3339), template.HTMLEscapeString(at.Format("2006-01-02 15:04:05.000 MST")), template.HTMLEscapeString(text)))
}

func span(d *durationpb.Duration) string {
	if d == nil {
		return "–"
	}
	return words(d.AsDuration())
}

// words returns a duration with one or two units.
func words(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.Itoa(int(d.Milliseconds())) + " ms"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// count returns a number with separators: 12,345.
func count(n any) string {
	text := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

func plural(n any, one, many string) string {
	if fmt.Sprint(n) == "1" {
		return "1 " + one
	}
	return count(n) + " " + many
}

// rate returns a rate per minute.
func rate(r *float64) string {
	switch {
	case r == nil || math.IsNaN(*r) || math.IsInf(*r, 0):
		return "–"
	case *r == 0:
		return "0"
	case *r < 10:
		return strconv.FormatFloat(*r, 'f', 1, 64)
	}
	return count(int64(math.Round(*r)))
}

func percent(w *v1.RateWindow) int64 {
	if w.GetLimit() <= 0 {
		return 0
	}
	return max(0, min(100, w.GetRemaining()*100/w.GetLimit()))
}

// spark returns a line of counts as an image with a text alternative.
func spark(s *v1.Series) template.HTML {
	most, sum, now := uint32(1), uint64(0), uint32(0)
	for _, n := range s.GetCounts() {
		most, now = max(most, n), n
		sum += uint64(n)
	}
	switch s.GetName() {
	case "quota_left":
		return sparkline("received", fmt.Sprintf("%d %% of the hourly limit are left", now), 100, s.GetCounts())
	case "share":
		return sparkline("received", fmt.Sprintf("%d %% now", now), 100, s.GetCounts())
	case "wait", "wait_others":
		return sparkline("received", fmt.Sprintf("%s now, at most %s", words(time.Duration(now)*time.Second), words(time.Duration(most)*time.Second)), most, s.GetCounts())
	}
	return sparkline(sparkClass(s.GetName()), fmt.Sprintf("%s in %d minutes: %d, at most %d in a minute", s.GetName(), len(s.GetCounts()), sum, most), most, s.GetCounts())
}

// latest returns the last value of a series of a company with its unit.
func latest(s *v1.Series) string {
	if len(s.GetCounts()) == 0 {
		return "–"
	}
	n := s.GetCounts()[len(s.GetCounts())-1]
	if s.GetName() == "quota_left" || s.GetName() == "share" {
		return fmt.Sprintf("%d %%", n)
	}
	if n == 0 {
		return "none"
	}
	return words(time.Duration(n) * time.Second)
}

// yes is the mark of a capability.
func yes(has bool) string {
	if has {
		return "yes"
	}
	return "–"
}

// sparkline returns a line of counts below most.
func sparkline(class, label string, most uint32, counts []uint32) template.HTML {
	var points strings.Builder
	n := len(counts)
	for i, c := range counts {
		x := 0.0
		if n > 1 {
			x = 120 * float64(i) / float64(n-1)
		}
		fmt.Fprintf(&points, "%.1f,%.1f ", x, 23-22*float64(c)/float64(most))
	}
	return template.HTML(fmt.Sprintf(`<svg class="spark %s" viewBox="0 0 120 24" width="120" height="24" preserveAspectRatio="none" role="img" aria-label="%s"><polyline points="%s"/></svg>`, //nolint:gosec // numbers and an escaped label
		class, template.HTMLEscapeString(label), strings.TrimSpace(points.String())))
}

func sparkClass(name string) string {
	if name == "failed" || name == "succeeded" {
		return name
	}
	return "received"
}

// line is a line of a diff.
type line struct{ Kind, Text string } // Kind: add, del, hunk, or ""

func diffLines(diff string) (ls []line) {
	for text := range strings.SplitSeq(strings.TrimSuffix(diff, "\n"), "\n") {
		switch {
		case strings.HasPrefix(text, "+"):
			ls = append(ls, line{"add", text})
		case strings.HasPrefix(text, "-"):
			ls = append(ls, line{"del", text})
		case strings.HasPrefix(text, "@@"):
			ls = append(ls, line{"hunk", text})
		default:
			ls = append(ls, line{"", text})
		}
	}
	return ls
}

// withQuery returns a path with a query, in which some values are replaced; "" removes one.
func withQuery(path string, q url.Values, pairs ...string) string {
	next := maps.Clone(q)
	if next == nil {
		next = url.Values{}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(next, pairs[i])
		} else {
			next[pairs[i]] = []string{pairs[i+1]}
		}
	}
	if len(next) == 0 {
		return path
	}
	return path + "?" + next.Encode()
}

// sorted returns the keys of counts, the largest count first.
func sorted(counts map[string]int32) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}
