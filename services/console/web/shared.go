package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"html/template"
	"net/http"
	"sync"
	"time"
)

// partAge is how long the content of a page answers further requests for it.
const partAge = time.Second

// parts are the contents of the pages that browsers load again and again. All callers that may see and do the same share them,
// so the cost of a page does not grow with the number of its viewers. The zero value is ready. Its methods may be called
// concurrently.
type parts struct {
	mu  sync.Mutex
	all map[string]*part
}

// part is a content that is being made, or was made.
type part struct {
	done   chan struct{} // closed when the fields below are set
	title  string
	html   template.HTML
	zipped []byte
	err    error
	until  time.Time // when it is too old
}

// usable reports whether another request may get the part.
func (p *part) usable(now time.Time) bool {
	select {
	case <-p.done:
		return p.err == nil && now.Before(p.until)
	default:
		return true
	}
}

// get returns the part of a key. It calls made if there is none that is usable.
func (s *parts) get(ctx context.Context, key string, now func() time.Time, made func() (title string, html []byte, err error)) (*part, error) {
	s.mu.Lock()
	for k, p := range s.all {
		if !p.usable(now()) {
			delete(s.all, k)
		}
	}
	p := s.all[key]
	if p != nil {
		s.mu.Unlock()
		select {
		case <-p.done:
			return p, p.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.all == nil {
		s.all = map[string]*part{}
	}
	p = &part{done: make(chan struct{}), err: errors.New("the page could not be made")} // if made panics
	s.all[key] = p
	s.mu.Unlock()
	defer close(p.done)
	title, html, err := made()
	p.title, p.html, p.err, p.until = title, template.HTML(html), err, now().Add(partAge) //nolint:gosec // by a template
	if err == nil {
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, _ = z.Write(html) // to memory
		_ = z.Close()
		p.zipped = zipped.Bytes()
	}
	return p, p.err
}

// forget makes later requests see what was just changed.
func (s *parts) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// share answers with a page whose content is the same for all callers with the same rights and time zone. A refresh by htmx gets
// only the content. get returns the title and what the template gets; its context does not end with the request.
func (c *call) share(name, section string, get func(context.Context) (title string, d any, err error)) error {
	ctx := c.r.Context()
	p, err := c.s.parts.get(ctx, c.r.URL.Path+" "+c.zone.String()+" "+c.caller.Rights(), c.s.now, func() (string, []byte, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pageTimeout)
		defer cancel()
		title, d, err := get(ctx)
		if err != nil {
			return "", nil, err
		}
		var out bytes.Buffer
		err = c.s.pages[name].ExecuteTemplate(&out, "content", &view{D: d, caller: c.caller, zone: c.zone, at: c.s.now()})
		return title, out.Bytes(), err
	})
	if err != nil {
		return err
	}
	if c.r.Header.Get("HX-Request") == "" || c.r.Header.Get("HX-History-Restore-Request") != "" {
		return c.render(http.StatusOK, "shared", section, p.title, p.html)
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Add("Vary", "Accept-Encoding, HX-Request")
	if !acceptsGzip(c.r) {
		_, _ = c.w.Write([]byte(p.html))
		return nil
	}
	h.Set("Content-Encoding", "gzip")
	_, _ = c.w.Write(p.zipped) // on error, the client has gone
	return nil
}
