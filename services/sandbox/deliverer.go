package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// deliverer makes the deliveries of all hooks, with one loop per hook and a limit of concurrent calls.
type deliverer struct {
	sb     *Sandbox
	client *http.Client
	slots  chan struct{} // a semaphore

	loopMu  sync.Mutex
	ctx     context.Context // nil until run
	pending []*hook         // hooks that start before run
	loops   sync.WaitGroup
}

func (d *deliverer) init(sb *Sandbox) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = sb.cfg.InFlight
	d.client = &http.Client{Transport: transport}
	d.slots = make(chan struct{}, sb.cfg.InFlight)
	d.sb = sb
}

// start starts a hook's loop, now or when run is called.
func (d *deliverer) start(h *hook) {
	h.queue.init()
	d.loopMu.Lock()
	defer d.loopMu.Unlock()
	if d.ctx == nil {
		d.pending = append(d.pending, h)
		return
	}
	if d.ctx.Err() == nil {
		d.loops.Add(1)
		go d.loop(d.ctx, h)
	}
}

func (d *deliverer) run(ctx context.Context) error {
	d.loopMu.Lock()
	if d.ctx != nil {
		d.loopMu.Unlock()
		return errors.New("Run was already called")
	}
	d.ctx = ctx
	for _, h := range d.pending {
		d.loops.Add(1)
		go d.loop(ctx, h)
	}
	d.pending = nil
	d.loopMu.Unlock()
	<-ctx.Done()
	d.loopMu.Lock()
	//lint:ignore SA2001 start holds the mutex while it starts a loop, so none starts later
	d.loopMu.Unlock()
	d.loops.Wait()
	d.client.CloseIdleConnections()
	return nil
}

// loop makes a hook's deliveries until ctx ends or the hook is deleted, and waits for its calls in flight.
func (d *deliverer) loop(ctx context.Context, h *hook) {
	defer d.loops.Done()
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	for {
		one, wait, probe := h.next()
		if one == nil {
			if !sleep(ctx, h, 0) {
				return
			}
			continue
		}
		if probe && !sleep(ctx, h, d.sb.scaled(wait)) {
			return
		}
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if probe { // one delivery at a time
			d.attempt(ctx, h, one, true)
			continue
		}
		inFlight.Go(func() { d.attempt(ctx, h, one, false) })
	}
}

// sleep waits for a duration, or until the queue changes if it is 0. It returns false if the loop must end.
func sleep(ctx context.Context, h *hook, duration time.Duration) bool {
	var timer <-chan time.Time
	wake := h.wake
	if duration > 0 {
		t := time.NewTimer(duration)
		defer t.Stop()
		timer, wake = t.C, nil
	}
	select {
	case <-timer:
	case <-wake:
	case <-ctx.Done():
		return false
	case <-h.ended:
		return false
	}
	return true
}

// attempt makes one POST and records the result.
func (d *deliverer) attempt(ctx context.Context, h *hook, one *delivery, probe bool) {
	defer func() { <-d.slots }()
	began := time.Now()
	status, body, err := d.post(ctx, h, one.body)
	if ctx.Err() != nil && err != nil {
		return // the sandbox ends
	}
	if d.sb.cfg.Delivered != nil {
		d.sb.cfg.Delivered(time.Since(began), status)
	}
	h.note(one.entry, d.sb.recordTime(began), d.sb.recordTime(time.Now()), response{status, body, err})
	if err == nil && status >= 200 && status < 300 {
		h.succeeded(one, probe)
		return
	}
	h.failed(one, probe, d.sb.scaled(flushAfter))
	h.signal()
}

// response is the result of a POST.
type response struct {
	status int
	body   string
	err    error
}

func (q *queue) note(e *entry, began, ended time.Time, a response) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.attempts++
	e.ResponseStatus, e.ResponseBody, e.ResponseError = a.status, a.body, ""
	if a.err != nil {
		e.ResponseError = a.err.Error()
	}
	e.StartedAt, e.CompletedAt = stamp(began), stamp(ended)
}

// post makes the call and returns the status and the body of the answer.
func (d *deliverer) post(ctx context.Context, h *hook, body []byte) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	url, headers := h.destination()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, string(answer), err
}
