package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// message is a message of a stream as the index keeps it.
type message struct {
	kind     bus.Kind
	company  int64 // 0: on a subject that no service writes; it only moves the cursor
	request  int64
	typ, run string // of the subject
	at       time.Time
	sequence uint64
	data     []byte   // see strip
	content  *content // of an event; nil: it has none
}

// size is about how many bytes a message takes.
func (m message) size() int {
	if m.content == nil {
		return len(m.data)
	}
	return len(m.data) + len(m.content.texts)
}

// broken is the data of a message that does not parse. It does not parse either.
var broken = []byte{0xff}

// strip returns a message as the index keeps it: what package request reads of it, without payloads, users and marks.
func strip(m bus.Message) message {
	s := m.Subject
	k := message{kind: s.Kind, company: s.Company, request: s.Request, typ: s.Type, run: s.Run, at: m.Stored, sequence: m.Sequence, data: broken}
	if s == (bus.Subject{}) {
		return k
	}
	p := request.NewMessage(s.Kind)
	if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(m.Data, p) != nil {
		return k
	}
	switch p := p.(type) {
	case *tiebackv1.Delivery:
		p.UserId = 0
	case *tiebackv1.Event:
		var details []int64
		k.content, details = contentOf(p.Type, p.Payload)
		p.Payload = detailsOnly(details)
	case *tiebackv1.Outcome:
		for _, c := range p.CloseOuts {
			c.Marks, c.Assignments, c.BudgetTransactions, c.Unlinks, c.Links = nil, nil, nil, nil, nil
		}
	case *tiebackv1.DeadLetter:
		p.Message = nil
	case *tiebackv1.Resolution:
		if p.Difference != "" {
			p.Difference = "the index does not keep it"
		}
	}
	data, err := proto.Marshal(p)
	if err != nil {
		return k
	}
	k.data = data
	return k
}

// detailsOnly returns a payload that has the request details of another one and nothing else.
func detailsOnly(details []int64) []byte {
	type detail struct {
		ID int64 `json:"request_detail_id"`
	}
	if len(details) == 0 {
		return nil
	}
	all := make([]detail, len(details))
	for i, id := range details {
		all[i].ID = id
	}
	payload, _ := json.Marshal(all) // integers
	return payload
}

// encode returns messages as a row has them: of each its kind as an index of bus.Kinds, sequence, Unix time in ns, type, run
// and data; numbers as varints, texts after their length.
func encode(all []message) []byte {
	size := 0
	for _, m := range all {
		size += 32 + len(m.typ) + len(m.run) + len(m.data)
	}
	b := make([]byte, 0, size)
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	for _, m := range all {
		b = append(b, byte(slices.Index(bus.Kinds, m.kind)))
		b = binary.AppendUvarint(b, m.sequence)
		b = binary.AppendVarint(b, m.at.UnixNano())
		text(m.typ)
		text(m.run)
		text(string(m.data))
	}
	return b
}

var errHistory = errors.New("the history of a request in the index does not decode")

// decode is the reverse of encode.
func decode(history []byte, company, request int64) ([]message, error) {
	var all []message
	for r := bytes.NewReader(history); r.Len() > 0; {
		m := message{company: company, request: request}
		kind, _ := r.ReadByte()
		var err, err2 error
		m.sequence, err = binary.ReadUvarint(r)
		at, err2 := binary.ReadVarint(r)
		if err != nil || err2 != nil || int(kind) >= len(bus.Kinds) {
			return nil, errHistory
		}
		m.kind, m.at = bus.Kinds[kind], time.Unix(0, at).UTC()
		var texts [3][]byte
		for i := range texts {
			n, err := binary.ReadUvarint(r)
			if err != nil || n > uint64(r.Len()) { //nolint:gosec // not negative
				return nil, errHistory
			}
			texts[i] = make([]byte, n)
			_, _ = r.Read(texts[i])
		}
		m.typ, m.run, m.data = string(texts[0]), string(texts[1]), texts[2]
		all = append(all, m)
	}
	return all, nil
}

// stored returns a message as package bus returns those of the stream.
func (m message) stored() bus.Message {
	s := bus.For(m.kind, m.typ, m.company, m.request).WithRun(m.run)
	return bus.Message{Subject: s, RawSubject: s.String(), Data: m.data, Attempt: 1, Stored: m.at, Stream: m.kind.Stream(), Sequence: m.sequence}
}

func storedAll(all []message) []bus.Message {
	out := make([]bus.Message, len(all))
	for i, m := range all {
		out[i] = m.stored()
	}
	return out
}

// merge adds messages to those of a request, in the order in which request.Messages reads them, and returns those that were
// added: not the ones that it had. It may change more, and share memory with it. A stream that was lost and made again numbers other messages alike.
func merge(has, more []message) (all, added []message) {
	if all = has; len(has) == 0 {
		all = more[:0] // in place: most requests are new
	}
	for _, m := range more {
		if slices.ContainsFunc(all, func(h message) bool { return h.kind == m.kind && h.sequence == m.sequence && h.at.Equal(m.at) }) {
			continue
		}
		all = append(all, m)
		if len(has) > 0 {
			added = append(added, m)
		}
	}
	if len(has) == 0 {
		added = all
	}
	slices.SortStableFunc(all, func(a, b message) int {
		return cmp.Or(cmp.Compare(slices.Index(bus.Kinds, a.kind), slices.Index(bus.Kinds, b.kind)), a.at.Compare(b.at), cmp.Compare(a.sequence, b.sequence))
	})
	return all, added
}
