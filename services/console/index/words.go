package index

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// content is what the index keeps of an event's payload.
type content struct {
	record string // what the request is about, such as: vendor "Acme"
	amount string // decimal
	words  string
}

// maxRecords is how many records of an event can be found. The others are not in the index; an export of cost codes may have
// thousands.
const maxRecords = 1000

// contentOf reads the names and numbers of a payload's records. It returns the zero value if the payload does not parse.
func contentOf(eventType string, raw []byte, details []int64) content {
	q, err := payload.Parse(raw)
	if err != nil {
		return content{}
	}
	var c content
	var w words
	for _, id := range details[:min(len(details), maxRecords)] {
		w.add(fmt.Sprint(id))
	}
	records := recordsOf(eventType, q)
	for i, r := range records[:min(len(records), maxRecords)] {
		if i == 0 {
			c.record, c.amount = connector.Describe(r), r.Amount
		}
		w.add(connector.Noun(r.Entity))
		for _, text := range []string{r.Name, r.Code, r.Number, r.OriginId, r.Amount, r.JobOriginId, r.VendorOriginId, r.ContractOriginId, r.ParentOriginId} {
			w.add(text)
		}
		if r.ProcoreId > 0 {
			w.add(fmt.Sprint(r.ProcoreId))
		}
	}
	if len(records) > 1 {
		c.record += fmt.Sprintf(" and %d more", len(records)-1)
	}
	c.words = w.String()
	return c
}

// named are the objects of a payload that name a record.
var named = map[string]tiebackv1.Entity{
	"vendor":        tiebackv1.Entity_ENTITY_VENDOR,
	"master_vendor": tiebackv1.Entity_ENTITY_VENDOR,
	"project":       tiebackv1.Entity_ENTITY_JOB,
	"sub_job":       tiebackv1.Entity_ENTITY_SUB_JOB,
	"budget":        tiebackv1.Entity_ENTITY_BUDGET,
	"commitment":    tiebackv1.Entity_ENTITY_COMMITMENT,
}

// recordsOf returns the records that an event is about, as far as they can be read.
func recordsOf(eventType string, q payload.Request) (all []*tiebackv1.Record) {
	row, _ := catalogue.Lookup(eventType)
	var links []payload.Link
	switch row.Category {
	case catalogue.Export:
		docs, err := payload.Exported(row.Name, q)
		if err != nil { // the payload is malformed, and an operator may look for it
			return namedRecords(q.Data)
		}
		for _, d := range docs {
			if d.Record.GetEntity() != tiebackv1.Entity_ENTITY_COST_CODE { // those of a job
				all = append(all, d.Record)
			}
		}
	case catalogue.Unlink:
		links, _ = payload.Unlinked(row.Name, q)
	case catalogue.Reset:
		links, _ = payload.Reset(row.Name, q)
	default:
		all = namedRecords(q.Data)
	}
	for _, l := range links {
		all = append(all, l.Record)
	}
	return slices.DeleteFunc(all, func(r *tiebackv1.Record) bool { return r == nil })
}

// namedRecords returns what the objects of a payload say of their records. The objects may be malformed.
func namedRecords(data payload.Object) (all []*tiebackv1.Record) {
	for _, name := range []string{"vendor", "master_vendor", "sub_job", "commitment", "budget", "project"} {
		if o := data.Object(name); len(o) > 0 {
			all = append(all, recordOf(named[name], o))
		}
	}
	for _, o := range slices.Concat(data.Objects("vendors"), data.Objects("source_vendors")) {
		all = append(all, recordOf(tiebackv1.Entity_ENTITY_VENDOR, o))
	}
	return all
}

func recordOf(e tiebackv1.Entity, o payload.Object) *tiebackv1.Record {
	return &tiebackv1.Record{Entity: e, ProcoreId: o.ID("id"), Name: cmp.Or(o.Text("name"), o.Text("company"), o.Text("title")), Number: o.Text("number"), Code: o.Text("origin_code"), OriginId: o.Text("origin_id")}
}

// maxTokens is how many words of one text are indexed, and searched for.
const maxTokens = 64

// maxToken is how many characters of a word count.
const maxToken = 40

var (
	thousands = regexp.MustCompile(`\b[0-9]{1,3}(,[0-9]{3})+\b`)
	fold      = cases.Fold()
)

// tokens returns the words of a text: letters, or digits, without case, accents and leading zeros. "SC-0042 Zürich" is sc, 42,
// zurich. Of a decimal fraction both forms are returned, 50 and 5 of .50, or only the shorter one for a search; .00 is none.
func tokens(text string, search bool) (all []string) {
	if strings.Contains(text, ",") {
		text = thousands.ReplaceAllStringFunc(text, func(n string) string { return strings.ReplaceAll(n, ",", "") })
	}
	text = fold.String(norm.NFKD.String(strings.ToValidUTF8(text, " ")))
	var word []rune
	class, fraction, after := other, false, rune(0) // after: the rune before the word
	end := func() {
		w := string(word[:min(len(word), maxToken)])
		switch {
		case len(word) == 0:
		case class == digits && fraction:
			short := strings.TrimRight(w, "0")
			if short != "" {
				all = append(all, trimZeros(short))
			}
			if !search && short != w {
				all = append(all, trimZeros(w))
			}
		case class == digits:
			all = append(all, trimZeros(w))
		default:
			all = append(all, w)
		}
		word = word[:0]
	}
	was := other // the class of the rune before after
	for _, r := range text {
		c := classOf(r)
		if c == mark {
			continue
		}
		if c != class {
			end()
			if c == digits {
				fraction = after == '.' && was == digits
			}
			was, class = class, c
		}
		if c == other {
			after = r
			continue
		}
		word = append(word, r)
	}
	end()
	return all[:min(len(all), maxTokens)]
}

// class is what a character is to tokens.
type class int

const (
	other class = iota
	letters
	digits
	mark // an accent, which is left out
)

func classOf(r rune) class {
	switch {
	case r >= '0' && r <= '9':
		return digits
	case unicode.IsLetter(r), unicode.IsNumber(r):
		return letters
	case unicode.IsMark(r):
		return mark
	}
	return other
}

func trimZeros(n string) string {
	if n = strings.TrimLeft(n, "0"); n == "" {
		return "0"
	}
	return n
}

// beginning marks the first two or three letters of a word, which find it. It is in a private use area.
const beginning = "\U00100000"

// words collects the terms of a document.
type words struct {
	all  []string
	seen map[string]bool
}

func (w *words) term(t string) {
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	if !w.seen[t] {
		w.seen[t] = true
		w.all = append(w.all, t)
	}
}

// add adds the terms of a text: each number, each word of one or of four and more letters, and the first two and three
// letters of each word.
func (w *words) add(text string) {
	for _, t := range tokens(text, false) {
		n := []rune(t)
		if classOf(n[0]) == digits || len(n) == 1 {
			w.term(t)
			continue
		}
		w.term(beginning + string(n[:2]))
		if len(n) > 2 {
			w.term(beginning + string(n[:3]))
		}
		if len(n) > 3 {
			w.term(t)
		}
	}
}

func (w *words) String() string { return strings.Join(w.all, " ") }

// addTimeline adds the words of what happened to a request: its type, request details, records, reasons, and the persons who
// resolved its dead letters.
func (w *words) addTimeline(t *request.Timeline) {
	w.add(fmt.Sprint(t.Request))
	if t.Type != catalogue.Unknown {
		w.add(strings.ReplaceAll(t.Type, "_", " "))
	}
	for _, r := range t.Reports {
		for _, c := range r.CloseOuts[:min(len(r.CloseOuts), maxRecords)] {
			if c.RequestDetailId > 0 {
				w.add(fmt.Sprint(c.RequestDetailId))
			}
			w.add(c.Record)
			for _, m := range c.Messages {
				w.add(m)
			}
		}
	}
	for _, d := range t.DeadLetters {
		w.add(d.UserMessage)
		w.add(d.Error)
		for _, r := range d.Resolutions {
			w.add(r.Who)
			w.add(r.Reason)
		}
	}
}
