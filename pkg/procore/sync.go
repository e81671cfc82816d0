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

// MaxUpdates is the maximum number of updates in one call of a sync action.
const MaxUpdates = 1000

// SyncCall is a sync action over any number of updates.
type SyncCall struct {
	Route    Route
	Query    url.Values
	Envelope map[string]any // the other fields of the body: company_id, project_id …
	Updates  []map[string]any
}

// ItemError is an update that Procore refused: within a 200, or as the only update of a call.
type ItemError struct {
	Item map[string]any // as Procore echoes it, or as it was sent
	Why  string         // Procore's reasons as text
}

// SyncResult is the combined result of the calls of a SyncCall. After refusals its order may differ from that of the updates.
type SyncResult struct {
	Entities []map[string]any
	Refused  []ItemError
}

// Sync makes a sync action in calls of at most MaxUpdates updates. Procore answers 200 even if it refuses updates; see
// SyncResult.Refused. After an error, it is not known whether the updates of the failed call and of
// later ones were made. The whole action can be repeated, as an update names its record by id or origin id.
//
// A call that Procore can't process is split in half, down to single updates:
//
//	408, 413              too large: the smaller size is kept for the route and company
//	its answer too large  the same
//	504, no answer        Procore may have made the updates, and accepts them again; the smaller size grows again over time
//	400, 409, 422         one update may be the cause: an update that is refused alone is added to Refused
func (s *Session) Sync(ctx context.Context, c SyncCall) (SyncResult, error) {
	a := &syncing{session: s, SyncCall: c, todo: chunks(c.Updates, s.sizes.of(c.Route))}
	for len(a.todo) > 0 {
		if err := a.next(ctx); err != nil {
			return a.result, err
		}
	}
	return a.result, nil
}

// syncing is a sync action in progress.
type syncing struct {
	SyncCall
	session  *Session
	todo     [][]map[string]any // the remaining updates in order, by call
	result   SyncResult
	smaller  *size // to be kept once a call of that size succeeds
	single   int   // updates that were refused as the only one of a call
	accepted bool  // an update was accepted
}

// After allRefused updates were refused one by one and none was accepted, the call itself may be the cause: its path or its
// query. This is assumed if another samples updates from other places are refused as well.
const (
	allRefused = 8
	samples    = 4
)

// next makes the next call. If Procore can't process it, next splits it.
func (a *syncing) next(ctx context.Context) error {
	updates := a.todo[0]
	result, err := a.call(ctx, updates)
	switch {
	case err == nil:
		a.todo = a.todo[1:]
		a.accept(updates, result)
	case len(updates) > 1 && (tooLarge(err) || errors.Is(err, errTooLong) || tooSlow(ctx, err)):
		a.shrink(updates, tooSlow(ctx, err))
	case len(updates) > 1 && refusedWhole(err):
		half := len(updates) / 2
		a.todo = slices.Concat([][]map[string]any{updates[:half], updates[half:]}, a.todo[1:])
	case refusedWhole(err) && len(a.Updates) > 1:
		if err := a.refuse(updates[0], err); err != nil {
			return err
		}
		if a.single++; !a.accepted && a.single == allRefused {
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

func (a *syncing) accept(updates []map[string]any, result SyncResult) {
	a.accepted = true
	a.result.Entities, a.result.Refused = append(a.result.Entities, result.Entities...), append(a.result.Refused, result.Refused...)
	if a.smaller != nil && len(updates) <= a.smaller.updates {
		a.session.sizes.keep(a.Route, *a.smaller)
	}
}

// sample sends the last update of each of the last remaining calls, alone, until one is accepted: adjacent updates often belong
// to one record and are refused for the same reason, as the lines of a commitment are. If all are refused, it returns the last
// refusal. Otherwise a refused sample stays in its call, as it may depend on an earlier update.
func (a *syncing) sample(ctx context.Context) error {
	var refusal error
	for i := len(a.todo) - 1; i >= max(0, len(a.todo)-samples); i-- {
		last := len(a.todo[i]) - 1
		result, err := a.call(ctx, a.todo[i][last:])
		if err == nil {
			a.accept(a.todo[i][last:], result)
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

// shrink splits the remaining calls to half their size. If Procore did not answer, a single update is sent first: if that is not
// answered either, Procore may be down, and no other call is made.
func (a *syncing) shrink(updates []map[string]any, slow bool) {
	a.smaller = newSize(len(updates)/2, slow)
	rest := slices.Concat(a.todo...)
	a.todo = nil
	if slow {
		a.todo, rest = append(a.todo, rest[:1]), rest[1:]
	}
	a.todo = append(a.todo, chunks(rest, a.smaller.updates)...)
}

// refuse adds an update that was refused alone to Refused, as if Procore had echoed it.
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

// tooLarge reports whether Procore refused a call because of its size.
func tooLarge(err error) bool {
	return hasStatus(err, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
}

// refusedWhole reports whether Procore refused a whole call, possibly because of only some of its updates. A missing permission
// or endpoint concerns all of them.
func refusedWhole(err error) bool {
	return hasStatus(err, http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity)
}

// tooSlow reports whether Procore, or a proxy before it, did not answer in time.
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
	if answer.Entities == nil && answer.Errors == nil { // a 200 without either is not a success
		return nil, nil, errors.New("it has neither entities nor errors")
	}
	var refused []ItemError
	for _, item := range answer.Errors {
		refused = append(refused, ItemError{Item: item, Why: clean(words(item["errors"]))})
	}
	return answer.Entities, refused, nil
}

// maxErrorText is the approximate maximum length of the result of words, which the caller truncates.
const maxErrorText = 64 << 10

// words formats Procore's errors value, which may have any shape, as "field: why; field: why".
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
