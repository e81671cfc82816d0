package endtoend

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile keeps n expensive connections to addr open until the test ends.
func (w *world) hostile(addr string, n int) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all, first sync.WaitGroup
	w.Cleanup(func() { cancel(); all.Wait() })
	ways := []string{
		"",                                      // sends nothing
		"POST /webhooks/procore/7 HTTP/1.1\r\n", // an incomplete header
		"POST /webhooks/procore/7 HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 15<<10), // the limit of the header
		"POST /webhooks/procore/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",  // a body without a token
	}
	slots := make(chan struct{}, 64) // concurrent dials
	for i := range n {
		first.Add(1)
		all.Go(func() {
			opened := sync.OnceFunc(first.Done)
			defer opened()
			for ctx.Err() == nil {
				slots <- struct{}{}
				c, err := net.DialTimeout("tcp", addr, 5*time.Second)
				<-slots
				if err != nil {
					opened()
					time.Sleep(50 * time.Millisecond)
					continue
				}
				_, _ = io.WriteString(c, ways[i%len(ways)])
				opened()
				done := context.AfterFunc(ctx, func() { _ = c.Close() })
				_, _ = io.Copy(io.Discard, c) // until the server closes it
				done()
				_ = c.Close()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	first.Wait()
}

// A header line of a megabyte is refused before it is read to its end.
func TestRequestHeadersAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	w.run()
	c, err := net.Dial("tcp", w.front.Addr().String())
	w.must(err)
	defer c.Close()
	go func() {
		_, _ = fmt.Fprintf(c, "POST /webhooks/procore/%d HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", int64(firstCompany), strings.Repeat("x", 1<<20))
	}()
	answer, _ := io.ReadAll(c) // the connection may be reset while the rest is sent
	if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("answered %.100q", answer)
	}
	if status, answer := w.deliver(firstCompany, w.token, shapes["v2.0"](firstCompany, 9007199254750999)); status != 200 {
		t.Errorf("a delivery after it is answered %d %s", status, answer)
	}
}

// The scheme may have any case; the body may begin with a byte order mark and may be compressed, within a limit.
func TestDeliveryVariantsAreAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	w.run()
	zip := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := io.WriteString(z, s)
		w.must(err)
		w.must(z.Close())
		return b.String()
	}
	body := func(n int64) string { return shapes["v2.0"](firstCompany, 9007199254751000+n) }
	for name, c := range map[string]struct {
		path, scheme, encoding, body string
		want                         int
	}{
		"small letters":    {"", "bearer", "", body(1), 200},
		"capitals":         {"", "BEARER", "", body(2), 200},
		"another scheme":   {"", "Basic", "", body(3), 401},
		"a mark":           {"", "Bearer", "", "\xef\xbb\xbf" + body(4), 200},
		"two marks":        {"", "Bearer", "", "\xef\xbb\xbf\xef\xbb\xbf" + body(5), 400},
		"compressed":       {"", "Bearer", "gzip", zip(body(6)), 200},
		"a bomb":           {"", "Bearer", "gzip", zip(strings.Repeat(" ", 100<<20)), 413},
		"not compressed":   {"", "Bearer", "gzip", body(7), 400},
		"a trailing slash": {"/", "Bearer", "", body(8), 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.webhook(firstCompany)+c.path, strings.NewReader(c.body))
		w.must(err)
		req.Header.Set("Authorization", c.scheme+" "+w.token)
		req.Header.Set("Content-Encoding", c.encoding)
		resp, err := http.DefaultClient.Do(req)
		w.must(err)
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: answered %d, want %d", name, resp.StatusCode, c.want)
		}
	}
}
