package tryton

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"

	"github.com/tieback/tieback/pkg/fault"
)

// Limits of responses, in bytes.
const (
	maxBytes       = 16 << 20 // a page of 1,000 documents has about 6 MB
	maxStatusBytes = 64 << 10 // of a response that is not a 200
)

// client calls one database over JSON-RPC. All methods may be called concurrently. It logs in before its
// first call, and again when the session has ended.
type client struct {
	config
	http *http.Client

	mu      sync.Mutex // held during a login
	session string     // for the Authorization header
	context object     // the user's preferences, sent with every call
}

// effect says whether a call may write, and so what a lost response means.
type effect bool

const (
	reads  effect = false
	writes effect = true
)

// call calls a method and decodes its result into out, unless out is nil. Errors are classed.
func (c *client) call(ctx context.Context, e effect, out any, method string, params ...any) error {
	return c.callWith(ctx, e, nil, out, method, params...)
}

// callWith is call with additional values in the context besides the user's preferences.
func (c *client) callWith(ctx context.Context, e effect, extra object, out any, method string, params ...any) error {
	for attempt := range 2 {
		session, preferences, err := c.logIn(ctx)
		if err != nil {
			return err
		}
		with := maps.Clone(preferences)
		maps.Copy(with, extra)
		err = c.post(ctx, e, c.database+"/", session, out, method, append(params[:len(params):len(params)], with)...)
		var ended *sessionEnded
		if !errors.As(err, &ended) {
			return err
		}
		c.logOut(session)
		if attempt == 1 {
			return fault.New(fault.Transient, err)
		}
	}
	panic("unreachable")
}

// sessionEnded is the error of a 401: nothing happened, and the client must log in again.
type sessionEnded struct{}

func (*sessionEnded) Error() string { return "tryton: the session has ended" }

func (c *client) logIn(ctx context.Context) (string, object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != "" {
		return c.session, c.context, nil
	}
	var got []json.RawMessage
	err := c.post(ctx, reads, c.database+"/", "", &got, "common.db.login", c.user, object{"password": c.password}, "en")
	var ended *sessionEnded
	if errors.As(err, &ended) {
		err = &fault.Error{
			Class: fault.Transient, Reason: fault.Denied, Err: fmt.Errorf("tryton: user %q or its password is refused (connector.user, connector.password)", c.user),
		}
	}
	if err != nil {
		return "", nil, err
	}
	var key string
	if len(got) != 2 || json.Unmarshal(got[1], &key) != nil {
		return "", nil, fmt.Errorf("tryton: the response to the login has no session")
	}
	session := "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%s:%s", c.user, got[0], key))
	var preferences object
	if err := c.post(ctx, reads, c.database+"/", session, &preferences, "model.res.user.get_preferences", true, object{}); err != nil {
		return "", nil, err
	}
	c.session, c.context = session, preferences
	return session, preferences, nil
}

// logOut forgets a session, unless another one was started since.
func (c *client) logOut(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == session {
		c.session = ""
	}
}

// post sends one request. The error of a request that was not sent is transient. Errors do not contain the
// password or the session.
func (c *client) post(ctx context.Context, e effect, path, session string, out any, method string, params ...any) error {
	return fault.Clean(c.send(ctx, e, path, session, out, method, params...), c.password, strings.TrimPrefix(session, "Session "))
}

func (c *client) send(ctx context.Context, e effect, path, session string, out any, method string, params ...any) error {
	if params == nil {
		params = []any{} // Tryton accepts no null
	}
	body, err := json.Marshal(object{"id": 1, "method": method, "params": params})
	if err != nil {
		return fault.New(fault.Permanent, fmt.Errorf("tryton: %s: %w", method, err))
	}
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return fault.New(fault.Permanent, err)
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	if session != "" {
		req.Header.Set("Authorization", session)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return lost(method, e && effect(sent), err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(io.LimitReader(res.Body, maxStatusBytes))
		return refusedStatus(method, e, res, raw)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxBytes+1))
	switch {
	case err != nil:
		return lost(method, e, err)
	case len(raw) > maxBytes:
		return lost(method, e, fmt.Errorf("the response is longer than %d bytes", maxBytes))
	}
	return answer(method, e, raw, out)
}

func answer(method string, e effect, raw []byte, out any) error {
	var a struct {
		Result json.RawMessage   `json:"result"`
		Error  []json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return lost(method, e, fmt.Errorf("the response is not JSON: %w", err))
	}
	if a.Error != nil {
		return refusedCall(method, e, a.Error)
	}
	if out == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(a.Result))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return lost(method, e, fmt.Errorf("the response is malformed: %w", err))
	}
	return nil
}

// version returns the version of the server. It needs no session.
func (c *client) version(ctx context.Context) (string, error) {
	var v string
	err := c.post(ctx, reads, "", "", &v, "common.server.version")
	return strings.TrimSpace(v), err
}
