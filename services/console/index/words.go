package index

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// content is what the index keeps of an event's payload.
type content struct {
	record string // what the request is about, such as: vendor "Acme"
	amount string // decimal
	texts  string // names, codes, numbers and amounts of its records, a line for each; document derives words from them
}

// maxRecords is how many records of an event can be found. The others are not in the index; an export of cost codes may have
// thousands.
const maxRecords = 1000

// contentOf reads the names and numbers of a payload's records, and its request details. The content is empty if the payload does
// not parse.
func contentOf(eventType string, raw []byte) (c *content, details []int64) {
	c = &content{}
	q, err := payload.Parse(raw)
	if err != nil {
		return c, procore.RequestDetails(raw)
	}
	details = q.Details
	var texts strings.Builder
	seen := map[string]bool{"": true}
	add := func(text string) {
		if text = clip(text); !seen[text] {
			seen[text] = true
			texts.WriteString(strings.ReplaceAll(text, "\n", " "))
			texts.WriteByte('\n')
		}
	}
	for _, id := range details[:min(len(details), maxRecords)] {
		add(strconv.FormatInt(id, 10))
	}
	records := recordsOf(eventType, q)
	for i, r := range records[:min(len(records), maxRecords)] {
		if i == 0 {
			c.record, c.amount = connector.Describe(r), r.Amount
		}
		for _, text := range [...]string{connector.Noun(r.Entity), r.Name, r.Code, r.Number, r.OriginId, r.Amount, r.JobOriginId, r.VendorOriginId, r.ContractOriginId, r.ParentOriginId} {
			add(text)
		}
		if r.ProcoreId > 0 {
			add(strconv.FormatInt(r.ProcoreId, 10))
		}
	}
	if len(records) > 1 {
		c.record += fmt.Sprintf(" and %d more", len(records)-1)
	}
	c.texts = texts.String()
	return c, details
}

// named are the objects of a payload that name a record. The first one that a payload has is what the request is about.
var named = []struct {
	field  string
	entity tiebackv1.Entity
}{
	{"vendor", tiebackv1.Entity_ENTITY_VENDOR},
	{"master_vendor", tiebackv1.Entity_ENTITY_VENDOR},
	{"sub_job", tiebackv1.Entity_ENTITY_SUB_JOB},
	{"commitment", tiebackv1.Entity_ENTITY_COMMITMENT},
	{"budget", tiebackv1.Entity_ENTITY_BUDGET},
	{"project", tiebackv1.Entity_ENTITY_JOB},
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
	for _, n := range named {
		if o := data.Object(n.field); len(o) > 0 {
			all = append(all, recordOf(n.entity, o))
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

// maxText is how many bytes of one text are indexed, and how many of a search are read.
const maxText = 1000

func clip(text string) string { return text[:min(len(text), maxText)] }

// maxTokens is how many words of a search count.
const maxTokens = 64

// maxToken is how many characters of a word count.
const maxToken = 40

var (
	thousands = regexp.MustCompile(`\b[0-9]{1,3}(,[0-9]{3})+\b`)
	fold      = cases.Fold()
)

// tokens returns the words of a search; see eachToken.
func tokens(text string) (all []string) {
	eachToken(text, true, func(word []byte, _ class) {
		if len(all) < maxTokens {
			all = append(all, string(word))
		}
	})
	return all
}

// eachToken calls each with the words of a text: letters, or digits, without case, accents and leading zeros. "SC-0042 Zürich" is
// sc, 42, zurich. Of a decimal fraction both forms are words, 50 and 5 of .50, or only the shorter one for a search; .00 is none.
// each must not keep the word.
func eachToken(text string, search bool, each func(word []byte, of class)) {
	if strings.Contains(text, ",") {
		text = thousands.ReplaceAllStringFunc(text, func(n string) string { return strings.ReplaceAll(n, ",", "") })
	}
	if !ascii(text) {
		text = fold.String(norm.NFKD.String(strings.ToValidUTF8(text, " ")))
	}
	var buffer [maxToken * utf8.UTFMax]byte
	word, n := buffer[:0], 0                        // of n characters
	class, fraction, after := other, false, rune(0) // after: the rune before the word
	end := func() {
		switch {
		case n == 0:
		case class == digits && fraction:
			short := bytes.TrimRight(word, "0")
			if len(short) > 0 {
				each(trimZeros(short), class)
			}
			if !search && len(short) < len(word) {
				each(trimZeros(word), class)
			}
		case class == digits:
			each(trimZeros(word), class)
		default:
			each(word, class)
		}
		word, n = buffer[:0], 0
	}
	was := other // the class of the rune before after
	for _, r := range text {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
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
		switch {
		case c == other:
			after = r
		case n < maxToken:
			word, n = utf8.AppendRune(word, r), n+1
		}
	}
	end()
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
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
	case r < utf8.RuneSelf:
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return letters
		}
		return other
	case unicode.IsLetter(r), unicode.IsNumber(r):
		return letters
	case unicode.IsMark(r):
		return mark
	}
	return other
}

func trimZeros(n []byte) []byte {
	if short := bytes.TrimLeft(n, "0"); len(short) > 0 {
		return short
	}
	return n[:1]
}

// beginning marks the first two or three letters of a word, which find it. It is in a private use area.
const beginning = "\U00100000"

// document is the text of a request in the search table: its terms, each followed by a space. A term may be there twice.
type document []byte

func (d *document) term(t string) { *d = append(append(*d, t...), ' ') }

// add adds the terms of texts: each number, each word of one or of four and more letters, and the first two and three letters of
// each word.
func (d *document) add(texts string) {
	eachToken(texts, false, func(word []byte, of class) {
		if of == letters {
			if two := runes(word, 2); two > 0 {
				*d = append(append(append(*d, beginning...), word[:two]...), ' ')
				three := runes(word, 3)
				if three == 0 {
					return
				}
				*d = append(append(append(*d, beginning...), word[:three]...), ' ')
				if three == len(word) {
					return
				}
			}
		}
		*d = append(append(*d, word...), ' ')
	})
}

// runes returns the length of the first n characters of a word; 0: it has fewer.
func runes(word []byte, n int) (length int) {
	for range n {
		if length == len(word) {
			return 0
		}
		_, size := utf8.DecodeRune(word[length:])
		length += size
	}
	return length
}

func (d *document) number(n int64) { *d = append(strconv.AppendInt(*d, n, 10), ' ') }

// addTimeline adds the words of what happened to a request: its type, request details, records, reasons, and the persons who
// resolved its dead letters.
func (d *document) addTimeline(t *request.Timeline) {
	d.number(t.Request)
	if t.Type != catalogue.Unknown {
		d.add(strings.ReplaceAll(t.Type, "_", " "))
	}
	for _, r := range t.Reports {
		for _, c := range r.CloseOuts[:min(len(r.CloseOuts), maxRecords)] {
			if c.RequestDetailId > 0 {
				d.number(c.RequestDetailId)
			}
			d.add(clip(c.Record))
			for _, m := range c.Messages {
				d.add(clip(m))
			}
		}
	}
	for _, l := range t.DeadLetters {
		d.add(clip(l.UserMessage))
		d.add(clip(l.Error))
		for _, r := range l.Resolutions {
			d.add(clip(r.Who))
			d.add(clip(r.Reason))
		}
	}
}
