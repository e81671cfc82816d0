package deadletters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ErrNoLetter says that there is no letter of that id.
var ErrNoLetter = errors.New("there is no such dead letter")

// noLetter is an ErrNoLetter that says what to do.
type noLetter uint64

func (n noLetter) Error() string {
	return fmt.Sprintf("there is no dead letter %d: tieback dead list shows those that are there", uint64(n))
}

func (noLetter) Unwrap() error { return ErrNoLetter }

// Filter picks letters. The zero value picks all that are open or cut off.
type Filter struct {
	Company  int64              // 0: any
	Category catalogue.Category // "": any
	Type     string             // "": any
	Stop     string             // "": any
	Cause    string             // of Causes; "": any
	Since    time.Time          // zero: from the first
	Until    time.Time          // zero: to the last
	Contains string             // text in the error, the sentence or the message, in any case; "": any
	All      bool               // also those that were dealt with
}

// subject is what the broker can filter by.
func (f Filter) subject(k bus.Kind) string {
	category, eventType, company := string(f.Category), f.Type, "*"
	if eventType != "" && category == "" {
		category = string(bus.For(k, eventType, 0, 0).Category)
	}
	if category == "" {
		category = "*"
	}
	if eventType == "" {
		eventType = "*"
	}
	if f.Company != 0 {
		company = fmt.Sprint(f.Company)
	}
	return fmt.Sprintf("tb.%s.%s.%s.%s.>", k, category, eventType, company)
}

func (f Filter) has(l Letter) bool {
	switch {
	case f.Stop != "" && l.Stop != f.Stop, f.Cause != "" && l.Cause() != f.Cause, !f.Until.IsZero() && l.At.After(f.Until):
		return false
	case f.Contains == "":
		return true
	}
	text := []byte(strings.ToLower(f.Contains))
	for _, in := range [][]byte{[]byte(l.Error), []byte(l.Sentence), l.Message} {
		if bytes.Contains(bytes.ToLower(in), text) {
			return true
		}
	}
	return false
}

// List gives the letters that the filter picks, oldest first, without their messages. What is
// written while it reads may lack.
func (d *Desk) List(ctx context.Context, f Filter) ([]Letter, error) {
	var all []Letter
	q := bus.Scan{Kind: bus.Dead, Since: f.Since, Subjects: []string{f.subject(bus.Dead)}}
	if f.Company == 0 && f.Category == "" && f.Type == "" {
		q.Subjects = nil // also what lies on no subject of ours
	}
	err := d.Bus.Scan(ctx, q, func(m bus.Message) error {
		if l := read(m.Sequence, m.Stored, m.Raw, m.Data); f.has(l) {
			l.Message = nil
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := d.mark(ctx, f.Since, f.where(), all); err != nil {
		return nil, err
	}
	if !f.All {
		all = slices.DeleteFunc(all, Letter.Done)
	}
	return all, nil
}

// Letter gives one letter, whole but for a message that was too large to be kept with it.
func (d *Desk) Letter(ctx context.Context, id uint64) (Letter, error) {
	l, err := d.letter(ctx, id)
	if err != nil {
		return l, err
	}
	one := []Letter{l}
	err = d.mark(ctx, time.Time{}, fmt.Sprintf("%d.%d", l.CompanyId, l.ErpRequestId), one)
	return one[0], err
}

func (d *Desk) letter(ctx context.Context, id uint64) (Letter, error) {
	m, err := d.stored(ctx, bus.Dead.Stream(), id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, noLetter(id)
	}
	if err != nil {
		return Letter{}, err
	}
	return read(id, m.Time, m.Subject, m.Data), nil
}

func (d *Desk) stored(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error) {
	s, err := d.Bus.JetStream().Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.GetMsg(ctx, seq)
}

// where is <company>.<request> of what the filter picks.
func (f Filter) where() string {
	if f.Company == 0 {
		return "*.*"
	}
	return fmt.Sprintf("%d.*", f.Company)
}

// mark fills in what was done with the letters, all of them from since on and of where.
func (d *Desk) mark(ctx context.Context, since time.Time, where string, letters []Letter) error {
	at := make(map[uint64]int, len(letters))
	for i, l := range letters {
		at[l.ID] = i
	}
	q := bus.Scan{Kind: bus.Dealt, Since: since, Subjects: runs(bus.Dealt, where)}
	err := d.Bus.Scan(ctx, q, func(m bus.Message) error {
		deal := &tiebackv1.Dealing{}
		if proto.Unmarshal(m.Data, deal) != nil {
			return nil // nobody of ours wrote it
		}
		if i, ok := at[deal.Letter]; ok {
			letters[i].Dealings = append(letters[i].Dealings, deal)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.judge(ctx, where, letters)
}

// runs are the subjects of all runs but the first.
func runs(k bus.Kind, where string) []string {
	return []string{fmt.Sprintf("tb.%s.*.*.%s.*", k, where)}
}

// judge tells the state of each letter by its last dealing.
func (d *Desk) judge(ctx context.Context, where string, letters []Letter) error {
	claimed := map[bus.Kind][]*Letter{}
	for i := range letters {
		l := &letters[i]
		switch deal := l.last(); {
		case deal == nil:
		case deal.Action == tiebackv1.Action_ACTION_DISCARDED:
			l.State = Discarded
		default:
			l.State = Replayed
			if s, err := bus.Parse(deal.Subject); err == nil {
				claimed[s.Kind] = append(claimed[s.Kind], l)
			}
		}
	}
	for kind, of := range claimed {
		if err := d.cutOff(ctx, kind, where, of); err != nil {
			return err
		}
	}
	return nil
}

// cutOff finds the claimed replays that were never sent. Those older than what their stream
// keeps are taken for sent.
func (d *Desk) cutOff(ctx context.Context, kind bus.Kind, where string, claimed []*Letter) error {
	age, err := d.Bus.Kept(ctx, kind)
	if err != nil {
		return err
	}
	missing := map[string]*Letter{}
	for _, l := range claimed {
		if deal := l.last(); age == 0 || time.Since(deal.At.AsTime()) < age {
			missing[deal.Subject] = l
		}
	}
	if len(missing) == 0 {
		return nil
	}
	q := bus.Scan{Kind: kind, Subjects: runs(kind, where)}
	err = d.Bus.Scan(ctx, q, func(m bus.Message) error {
		delete(missing, m.Raw)
		return nil
	})
	for _, l := range missing {
		l.State = CutOff
	}
	return err
}
