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

// subjects returns the subjects for the broker's filter. If the filter does not restrict the subject, it returns nil, which
// selects every message, even one that no service wrote.
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

// ReadDeadLetter returns the dead letter with an id, with its message unless the message was too large to keep. If no dead
// letter has the id, the error is an ErrNoDeadLetter.
func ReadDeadLetter(ctx context.Context, b *bus.Bus, id uint64) (DeadLetter, error) {
	d, err := ReadWithoutResolutions(ctx, b, id)
	if err != nil {
		return d, err
	}
	one := []DeadLetter{d}
	err = resolve(ctx, b, time.Time{}, fmt.Sprintf("%d.%d", d.CompanyId, d.ErpRequestId), one)
	return one[0], err
}

// ReadWithoutResolutions is ReadDeadLetter without reading the resolutions: the dead letter is returned as it was published, in
// StateUnresolved.
func ReadWithoutResolutions(ctx context.Context, b *bus.Bus, id uint64) (DeadLetter, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := b.JetStream().Stream(ctx, bus.Dead.Stream())
	if err != nil {
		return DeadLetter{}, err
	}
	m, err := s.GetMsg(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return DeadLetter{}, fmt.Errorf("dead letter %d: %w", id, ErrNoDeadLetter)
	}
	if err != nil {
		return DeadLetter{}, err
	}
	subject, _ := bus.Parse(m.Subject)
	return ParseDeadLetter(bus.Message{Subject: subject, RawSubject: m.Subject, Data: m.Data, Stored: m.Time, Sequence: id}), nil
}

// furtherRuns returns a filter for the messages of all runs but the first. requests is "<company>.<request>"; either part may be *.
func furtherRuns(k bus.Kind, requests string) []string {
	return []string{fmt.Sprintf("tb.%s.*.*.%s.*", k, requests)}
}

// resolve sets the resolutions and states of dead letters. It reads only resolutions that were published at or after the time
// since, for requests that match the filter requests (as in furtherRuns).
func resolve(ctx context.Context, b *bus.Bus, since time.Time, requests string, all []DeadLetter) error {
	index := make(map[uint64]int, len(all))
	for i, d := range all {
		index[d.ID] = i
	}
	err := b.Scan(ctx, bus.Scan{Kind: bus.Resolution, Since: since, Subjects: furtherRuns(bus.Resolution, requests)}, func(m bus.Message) error {
		r := &tiebackv1.Resolution{}
		if proto.Unmarshal(m.Data, r) != nil {
			return nil // not written by a service
		}
		if i, ok := index[r.DeadLetter]; ok {
			all[i].Resolutions = append(all[i].Resolutions, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var newest []*tiebackv1.Resolution
	for _, d := range all {
		newest = append(newest, d.resolution())
	}
	interrupted, err := interruptedReplays(ctx, b, requests, newest)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].State = all[i].state(interrupted[newest[i]])
	}
	return nil
}

// maxLookups is the largest number of replays that interruptedReplays looks up one by one. For more it scans the streams.
const maxLookups = 16

// interruptedReplays returns, as a set, the resolutions that are replays whose message was not published. Elements of resolutions
// may be nil. requests is as in furtherRuns.
func interruptedReplays(ctx context.Context, b *bus.Bus, requests string, resolutions []*tiebackv1.Resolution) (map[*tiebackv1.Resolution]bool, error) {
	retention, err := b.Retention(ctx, bus.Event)
	if err != nil {
		return nil, err
	}
	replays, missing, kinds := map[*tiebackv1.Resolution]bus.Subject{}, map[bus.Subject]bool{}, map[bus.Kind]bool{}
	for _, r := range resolutions {
		if s, ok := replayOf(r, time.Now(), retention); ok {
			replays[r], missing[s], kinds[s.Kind] = s, true, true
		}
	}
	if len(missing) <= maxLookups {
		for s := range missing {
			has, err := b.Has(ctx, s)
			if err != nil {
				return nil, err
			}
			missing[s] = !has
		}
	} else {
		for k := range kinds {
			err := b.Scan(ctx, bus.Scan{Kind: k, Subjects: furtherRuns(k, requests)}, func(m bus.Message) error {
				delete(missing, m.Subject)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	interrupted := map[*tiebackv1.Resolution]bool{}
	for r, s := range replays {
		interrupted[r] = missing[s]
	}
	return interrupted, nil
}
