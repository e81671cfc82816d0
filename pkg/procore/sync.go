package procore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
)

// MaxUpdates is how many resources one call of a sync action takes.
const MaxUpdates = 1000

// SyncCall is a sync action over any number of updates.
type SyncCall struct {
	Route    Route
	Query    url.Values
	Envelope map[string]any // what stands beside "updates": company_id, project_id …
	Updates  []map[string]any
}

// ItemError is one update that Procore refused: inside its 200, or as the only one of a call.
type ItemError struct {
	Item map[string]any // as Procore echoes it, or as it was sent
	Why  string         // its reasons in words
}

// SyncResult is what all calls of a SyncCall came to. After refusals its order may differ from that of the updates.
type SyncResult struct {
	Entities []map[string]any
	Refused  []ItemError
}

// Sync makes a sync action in calls of at most MaxUpdates. The answer's status is 200 even
// when items fail: read Refused. An error means that the updates of the call it happened in, and those
// after it, are not known to have been taken; making the whole action again is harmless, as an update
// names its record by id or origin id.
//
// A call that Procore can't take is made in halves, down to single updates:
//
//	408, 413              too large: the smaller size stays for the route and company
//	its answer too large  the same
//	504, no answer        Procore may have taken it, and takes it again; the smaller size grows back in time
//	400, 409, 422         one update may be at fault: what is refused alone is among Refused
func (s *Session) Sync(ctx context.Context, c SyncCall) (SyncResult, error) {
	a := &syncing{session: s, SyncCall: c, todo: chunks(c.Updates, s.sizes.of(c.Route))}
	for len(a.todo) > 0 {
		if err := a.next(ctx); err != nil {
			return a.result, err
		}
	}
	return a.result, nil
}

// syncing is a sync action under way.
type syncing struct {
	SyncCall
	session *Session
	todo    [][]map[string]any // what is left, in the order of the updates, by calls
	result  SyncResult
	smaller *size // to be kept once a call of that size is taken
	alone   int   // updates that were refused alone while none was taken
	taken   bool
}

// After allRefused updates were refused one by one and none was taken, the call itself may be at fault: its path, its
// query. It counts as such if another samples updates from other places are refused as well.
const (
	allRefused = 8
	samples    = 4
)

// next makes the next call, or parts it.
func (a *syncing) next(ctx context.Context) error {
	updates := a.todo[0]
	result, err := a.call(ctx, updates)
	switch {
	case err == nil:
		a.todo = a.todo[1:]
		a.took(updates, result)
	case len(updates) > 1 && (tooLarge(err) || errors.Is(err, errTooLong) || tooSlow(ctx, err)):
		a.shrink(updates, tooSlow(ctx, err))
	case len(updates) > 1 && refusedWhole(err):
		half := len(updates) / 2
		a.todo = slices.Concat([][]map[string]any{updates[:half], updates[half:]}, a.todo[1:])
	case refusedWhole(err) && len(a.Updates) > 1:
		if err := a.refuse(updates[0], err); err != nil {
			return err
		}
		if a.alone++; !a.taken && a.alone == allRefused {
			return a.sample(ctx)
		}
	default:
		return err
	}
	return nil
}

func (a *syncing) call(ctx context.Context, updates []map[string]any) (SyncResult, error) {
	body := map[string]any{"updates": updates}
	for k, v := range a.Envelope {
		body[k] = v
	}
	ctx, release := Holding(ctx)
	defer release()
	raw, err := a.session.Do(ctx, Call{Route: a.Route, Query: a.Query, Body: body, items: len(updates)})
	if err != nil {
		return SyncResult{}, err
	}
	entities, refused, err := parseSync(raw, a.session.text)
	if err != nil {
		return SyncResult{}, fault.From(fault.FromProcore, fault.New(fault.Ambiguous, fmt.Errorf("%s: answer does not parse: %w", a.Route.Name, err)))
	}
	return SyncResult{Entities: entities, Refused: refused}, nil
}

func (a *syncing) took(updates []map[string]any, result SyncResult) {
	a.taken = true
	a.result.Entities, a.result.Refused = append(a.result.Entities, result.Entities...), append(a.result.Refused, result.Refused...)
	if a.smaller != nil && len(updates) <= a.smaller.updates {
		a.session.sizes.keep(a.Route, *a.smaller)
	}
}

// sample tries the last update of each of the last calls left, alone, until one is taken: neighbours often belong to one
// record and share its fault, as the lines of a commitment do. If all are refused it returns the last refusal. A refused
// sample keeps its place otherwise, as it may depend on an update before it.
func (a *syncing) sample(ctx context.Context) error {
	var refusal error
	for i := len(a.todo) - 1; i >= max(0, len(a.todo)-samples); i-- {
		last := len(a.todo[i]) - 1
		result, err := a.call(ctx, a.todo[i][last:])
		if err == nil {
			a.took(a.todo[i][last:], result)
			if a.todo[i] = a.todo[i][:last]; last == 0 {
				a.todo = slices.Delete(a.todo, i, i+1)
			}
			return nil
		}
		if refusal = err; !refusedWhole(err) {
			return err
		}
	}
	return refusal
}

// shrink cuts all that is left to half the size. Of a Procore that does not answer one update is asked first, as it
// may be down: then nothing else is tried.
func (a *syncing) shrink(updates []map[string]any, slow bool) {
	a.smaller = newSize(len(updates)/2, slow)
	rest := slices.Concat(a.todo...)
	a.todo = nil
	if slow {
		a.todo, rest = append(a.todo, rest[:1]), rest[1:]
	}
	a.todo = append(a.todo, chunks(rest, a.smaller.updates)...)
}

// refuse adds an update that was refused alone, as if Procore had echoed it.
func (a *syncing) refuse(update map[string]any, err error) error {
	a.todo = a.todo[1:]
	var status *StatusError
	errors.As(err, &status)
	raw, err := json.Marshal(update)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // ids need 64 bits
	var item map[string]any
	err = dec.Decode(&item)
	a.result.Refused = append(a.result.Refused, ItemError{Item: item, Why: status.Why})
	return err
}

func chunks(updates []map[string]any, n int) [][]map[string]any {
	return slices.Collect(slices.Chunk(updates, n))
}

// tooLarge reports whether Procore asks for less in a call.
func tooLarge(err error) bool {
	return hasStatus(err, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
}

// refusedWhole reports whether a refusal may be about some of the updates only. A lack of permission, or of the
// endpoint, is about all.
func refusedWhole(err error) bool {
	return hasStatus(err, http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity)
}

// tooSlow reports whether Procore, or what is between, did not answer in time.
func tooSlow(ctx context.Context, err error) bool {
	return hasStatus(err, http.StatusGatewayTimeout) || errors.Is(err, errTimeout) && ctx.Err() == nil
}

func hasStatus(err error, any ...int) bool {
	var status *StatusError
	return errors.As(err, &status) && slices.Contains(any, status.Status)
}

func parseSync(raw []byte, clean func(string) string) ([]map[string]any, []ItemError, error) {
	var answer struct {
		Entities []map[string]any `json:"entities"`
		Errors   []map[string]any `json:"errors"`
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber() // ids need 64 bits
	if err := dec.Decode(&answer); err != nil {
		return nil, nil, err
	}
	if answer.Entities == nil && answer.Errors == nil { // a 200 that says nothing is no success
		return nil, nil, errors.New("it has neither entities nor errors")
	}
	var refused []ItemError
	for _, item := range answer.Errors {
		refused = append(refused, ItemError{Item: item, Why: clean(words(item["errors"]))})
	}
	return answer.Entities, refused, nil
}

// maxErrorText is how much words says, or a little more: it is cut afterwards.
const maxErrorText = 64 << 10

// words turns Procore's errors value, of whatever shape, into "field: why; field: why".
func words(errs any) string {
	var b strings.Builder
	writeErrors(&b, errs)
	return b.String()
}

func writeErrors(b *strings.Builder, errs any) {
	switch v := errs.(type) {
	case map[string]any:
		for i, field := range slices.Sorted(maps.Keys(v)) {
			if b.Len() > maxErrorText {
				return
			}
			if i > 0 {
				b.WriteString("; ")
			}
			b.WriteString(strings.ReplaceAll(field, "_", " ") + ": ")
			writeErrors(b, v[field])
		}
	case []any:
		for i, why := range v {
			if b.Len() > maxErrorText {
				return
			}
			if i > 0 {
				b.WriteString(", ")
			}
			writeErrors(b, why)
		}
	case nil:
		b.WriteString("no reason given")
	default:
		fmt.Fprint(b, v)
	}
}
