package procore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tieback/tieback/pkg/fault"
)

// The maximum size of an answer in bytes, by call:
//
//	an ERP request              maxRequest, the limit of the broker
//	a page of a list            maxAnswer, and maxItem for each requested item
//	a sync action               maxAnswer, and maxItem for each update
//	any other call              maxAnswer
//	a token, and each refusal   maxSmall; the rest of a refusal is not read
const (
	maxRequest = 8 << 20 // one of 1,000 lines has about 3 MB
	maxAnswer  = 1 << 20
	maxItem    = 16 << 10
	maxSmall   = 64 << 10
)

// maxBuffered is the maximum number of bytes of answers that a Client has in memory, without the first maxSmall of each, which
// nearly every answer fits in. Parsed, an answer has several times its size. The first maxSmall are bounded by the number of
// concurrent calls: a fetcher or a worker has 256 handlers, each with one call, which is 16 MiB. `tieback run` has one fetcher and
// five workers, which is 96 MiB.
const maxBuffered = 24 << 20

// maxHeaders is the maximum size of the headers of an answer in bytes.
const maxHeaders = 64 << 10

// maxBytes returns the maximum size of the answer to the call.
func (c Call) maxBytes() int64 {
	if c.Route.Name == GetERPRequest.Name {
		return maxRequest
	}
	return maxAnswer + int64(c.items)*maxItem
}

// errTooLong is wrapped by the error of a call whose answer exceeds its maximum size.
var errTooLong = errors.New("the answer is too large")

type holdKey struct{}

// answerHold is the number of bytes of answers that are held in a context; see Holding.
type answerHold struct {
	of    *semaphore.Weighted
	bytes int64
}

// Holding returns a context in which the answer of a call counts as in memory until release is called, not only while it is
// read. It is for callers that process a large answer. Calls with such a context must not be concurrent; each answer replaces
// the previous one.
func Holding(ctx context.Context) (holding context.Context, release func()) {
	h := &answerHold{}
	return context.WithValue(ctx, holdKey{}, h), h.release
}

func (h *answerHold) release() {
	if h.of != nil {
		h.of.Release(h.bytes)
	}
	h.of, h.bytes = nil, 0
}

// read reads the body of an answer. Of a refusal it reads only the beginning.
func (s *Session) read(ctx context.Context, c Call, resp *http.Response) ([]byte, error) {
	start, err := io.ReadAll(io.LimitReader(resp.Body, maxSmall))
	if err != nil {
		return nil, s.noAnswer(c.Route, err)
	}
	if len(start) < maxSmall || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return start, nil
	}
	most := c.maxBytes()
	if resp.ContentLength > most {
		return nil, tooLong(c.Route, most)
	}
	need := most
	if resp.ContentLength >= 0 {
		need = resp.ContentLength
	}
	h, holding := ctx.Value(holdKey{}).(*answerHold)
	if !holding {
		h = &answerHold{}
		defer h.release()
	}
	h.release()
	if err := s.acquire(ctx, c.Route, need); err != nil {
		return nil, err
	}
	h.of, h.bytes = s.answers, need
	all := bytes.NewBuffer(start)
	if resp.ContentLength >= 0 {
		all.Grow(int(need) - len(start) + bytes.MinRead)
	}
	n, err := all.ReadFrom(io.LimitReader(resp.Body, most-maxSmall+1))
	switch {
	case err != nil:
		return nil, s.noAnswer(c.Route, err)
	case n > most-maxSmall:
		return nil, tooLong(c.Route, most)
	}
	return all.Bytes(), nil
}

// acquire waits until n more bytes may be read, at most about as long as a call may take.
func (s *Session) acquire(ctx context.Context, r Route, n int64) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	switch err := s.answers.Acquire(limited, n); {
	case err == nil:
		return nil
	case r.Method != http.MethodGet:
		return fault.New(fault.Ambiguous, fmt.Errorf("%s: Procore's answer was not read: too many large ones at once", r.Name))
	case ctx.Err() != nil:
		return fault.New(fault.Transient, ctx.Err())
	}
	return &fault.Error{
		Class: fault.Throttled, Reason: fault.Busy, RetryAfter: time.Second + rand.N(4*time.Second),
		Err: fmt.Errorf("%s: Procore's answer was not read: too many large ones at once", r.Name),
	}
}

// tooLong returns the error of an answer that is larger than most bytes. If the call was a write, it was made.
func tooLong(r Route, most int64) error {
	e := &fault.Error{Class: fault.Ambiguous, Err: fmt.Errorf("%s: %w: more than %d bytes", r.Name, errTooLong, most)}
	if r.Method == http.MethodGet {
		e.Class = fault.Permanent
		e.UserMessage = "What Procore has for this is too large to be read, so nothing was done. Split it in Procore, or contact the administrator of your ERP integration."
	}
	return e
}
