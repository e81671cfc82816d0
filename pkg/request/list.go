package request

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

// ErrNoDeadLetter is the error for an id that no dead letter has.
var ErrNoDeadLetter = errors.New("there is no such dead letter")

// noDeadLetter is an ErrNoDeadLetter for an id.
type noDeadLetter uint64

func (n noDeadLetter) Error() string {
	return fmt.Sprintf("there is no dead letter %d: tieback dead list shows the ids", uint64(n))
}

func (noDeadLetter) Unwrap() error { return ErrNoDeadLetter }

// Filter selects dead letters. The zero value selects all that are unresolved.
type Filter struct {
	Company  int64              // 0: any
	Category catalogue.Category // "": any
	Type     string             // "": any
	Stage    string             // "": any
	Cause    string             // of Causes; "": any
	Since    time.Time          // zero: from the first
	Until    time.Time          // zero: to the last
	Contains string             // text in the error, the user message or the message, ignoring case; "": any
	All      bool               // also those that are resolved
}

// subjects returns the subjects for the broker's filter. It returns nil, which selects every message, even one that no
// service wrote, if the filter does not restrict the subject.
func (f Filter) subjects() []string {
	category, eventType, company := string(f.Category), f.Type, "*"
	if f.Company == 0 && category == "" && eventType == "" {
		return nil
	}
	if eventType == "" {
		eventType = "*"
	} else if category == "" {
		category = string(bus.For(bus.Dead, eventType, 0, 0).Category)
	}
	if category == "" {
		category = "*"
	}
	if f.Company != 0 {
		company = fmt.Sprint(f.Company)
	}
	return []string{fmt.Sprintf("tb.%s.%s.%s.%s.>", bus.Dead, category, eventType, company)}
}

func (f Filter) matches(d DeadLetter) bool {
	switch {
	case f.Stage != "" && d.Stage != f.Stage, f.Cause != "" && d.Cause() != f.Cause, !f.Until.IsZero() && d.At.After(f.Until):
		return false
	case f.Contains == "":
		return true
	}
	text := []byte(strings.ToLower(f.Contains))
	for _, in := range [][]byte{[]byte(d.Error), []byte(d.UserMessage), d.Message} {
		if bytes.Contains(bytes.ToLower(in), text) {
			return true
		}
	}
	return false
}

// DeadLetters returns the dead letters that the filter selects, oldest first, without their messages. A dead letter that is
// published during the call may be missing.
func DeadLetters(ctx context.Context, b *bus.Bus, f Filter) ([]DeadLetter, error) {
	var all []DeadLetter
	err := b.Scan(ctx, bus.Scan{Kind: bus.Dead, Since: f.Since, Subjects: f.subjects()}, func(m bus.Message) error {
		if d := ParseDeadLetter(m); f.matches(d) {
			d.Message = nil
			all = append(all, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	requests := "*.*"
	if f.Company != 0 {
		requests = fmt.Sprintf("%d.*", f.Company)
	}
	if err := resolve(ctx, b, f.Since, requests, all); err != nil {
		return nil, err
	}
	if !f.All {
		all = slices.DeleteFunc(all, DeadLetter.Resolved)
	}
	return all, nil
}

// ReadDeadLetter returns one dead letter, with its message unless that was too large. If there is none with the id, the error is
// an ErrNoDeadLetter.
func ReadDeadLetter(ctx context.Context, b *bus.Bus, id uint64) (DeadLetter, error) {
	d, err := WrittenDeadLetter(ctx, b, id)
	if err != nil {
		return d, err
	}
	one := []DeadLetter{d}
	err = resolve(ctx, b, time.Time{}, fmt.Sprintf("%d.%d", d.CompanyId, d.ErpRequestId), one)
	return one[0], err
}

// WrittenDeadLetter returns a dead letter as it was published, without its resolutions, in StateOpen. Errors are those of
// ReadDeadLetter.
func WrittenDeadLetter(ctx context.Context, b *bus.Bus, id uint64) (DeadLetter, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := b.JetStream().Stream(ctx, bus.Dead.Stream())
	if err != nil {
		return DeadLetter{}, err
	}
	m, err := s.GetMsg(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return DeadLetter{}, noDeadLetter(id)
	}
	if err != nil {
		return DeadLetter{}, err
	}
	subject, _ := bus.Parse(m.Subject)
	return ParseDeadLetter(bus.Message{Subject: subject, Raw: m.Subject, Data: m.Data, Stored: m.Time, Sequence: id}), nil
}

// replays returns the subjects of all runs but the first. requests is <company>.<request>; each may be *.
func replays(k bus.Kind, requests string) []string {
	return []string{fmt.Sprintf("tb.%s.*.*.%s.*", k, requests)}
}

// resolve sets the resolutions and states of dead letters. It reads the resolutions published since the given time, for
// the given requests. requests is as in replays.
func resolve(ctx context.Context, b *bus.Bus, since time.Time, requests string, all []DeadLetter) error {
	at := make(map[uint64]int, len(all))
	for i, d := range all {
		at[d.ID] = i
	}
	err := b.Scan(ctx, bus.Scan{Kind: bus.Resolution, Since: since, Subjects: replays(bus.Resolution, requests)}, func(m bus.Message) error {
		r := &tiebackv1.Resolution{}
		if proto.Unmarshal(m.Data, r) != nil {
			return nil // not written by a service
		}
		if i, ok := at[r.DeadLetter]; ok {
			all[i].Resolutions = append(all[i].Resolutions, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	now := time.Now()
	retention, err := b.Retention(ctx, bus.Event)
	if err != nil {
		return err
	}
	var open []bus.Subject
	for _, d := range all {
		if s, ok := replayOf(d.resolution(), now, retention); ok {
			open = append(open, s)
		}
	}
	missing, err := unpublished(ctx, b, requests, open)
	for i := range all {
		all[i].State = all[i].state(now, retention, func(s bus.Subject) bool { return !missing[s] })
	}
	return err
}

// maxLookups is the largest number of replays that are looked up one by one.
const maxLookups = 16

// unpublished returns the replays that have no message.
func unpublished(ctx context.Context, b *bus.Bus, requests string, of []bus.Subject) (map[bus.Subject]bool, error) {
	missing := map[bus.Subject]bool{}
	kinds := map[bus.Kind]bool{}
	for _, s := range of {
		missing[s], kinds[s.Kind] = true, true
	}
	if len(of) <= maxLookups {
		for s := range missing {
			has, err := b.Has(ctx, s)
			if err != nil {
				return nil, err
			}
			if has {
				delete(missing, s)
			}
		}
		return missing, nil
	}
	for k := range kinds {
		err := b.Scan(ctx, bus.Scan{Kind: k, Subjects: replays(k, requests)}, func(m bus.Message) error {
			delete(missing, m.Subject)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}
