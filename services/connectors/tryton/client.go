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

// How many bytes of an answer are read.
const (
	mostBytes   = 16 << 20 // a page of 1,000 documents has about 6 MB
	statusBytes = 64 << 10 // of one that is no 200
)

// client speaks JSON-RPC with one database. All methods may be called concurrently. It logs
// in when it first needs to, and once more when the session has ended.
type client struct {
	config
	http *http.Client

	mu      sync.Mutex // held while it logs in
	session string     // of the Authorization header
	context object     // the user's preferences, sent with every call
}

// effect says what a call may do, and so what a lost answer means.
type effect bool

const (
	reads  effect = false
	writes effect = true
)

// call calls a method and reads its result into out (nil: not wanted). Errors are classed.
func (c *client) call(ctx context.Context, e effect, out any, method string, params ...any) error {
	return c.callWith(ctx, e, nil, out, method, params...)
}

// callWith is call with more in the context than the user's preferences.
func (c *client) callWith(ctx context.Context, e effect, extra object, out any, method string, params ...any) error {
	for again := range 2 {
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
		if again == 1 {
			return fault.New(fault.Transient, err)
		}
	}
	panic("unreachable")
}

// sessionEnded is a 401: nothing happened, log in again.
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
		return "", nil, fmt.Errorf("tryton: no session in the answer to the login")
	}
	session := "Session " + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%s:%s", c.user, got[0], key))
	var preferences object
	if err := c.post(ctx, reads, c.database+"/", session, &preferences, "model.res.user.get_preferences", true, object{}); err != nil {
		return "", nil, err
	}
	c.session, c.context = session, preferences
	return session, preferences, nil
}

// logOut forgets a session, unless another has logged in since.
func (c *client) logOut(session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == session {
		c.session = ""
	}
}

// post sends one request. The error of a request that was never sent is transient. No error has the password or the session.
func (c *client) post(ctx context.Context, e effect, path, session string, out any, method string, params ...any) error {
	return fault.Clean(c.send(ctx, e, path, session, out, method, params...), c.password, strings.TrimPrefix(session, "Session "))
}

func (c *client) send(ctx context.Context, e effect, path, session string, out any, method string, params ...any) error {
	if params == nil {
		params = []any{} // Tryton takes no null
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
		raw, _ := io.ReadAll(io.LimitReader(res.Body, statusBytes))
		return refusedStatus(method, e, res, raw)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, mostBytes+1))
	switch {
	case err != nil:
		return lost(method, e, err)
	case len(raw) > mostBytes:
		return lost(method, e, fmt.Errorf("the answer is longer than %d bytes", mostBytes))
	}
	return answer(method, e, raw, out)
}

func answer(method string, e effect, raw []byte, out any) error {
	var a struct {
		Result json.RawMessage   `json:"result"`
		Error  []json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return lost(method, e, fmt.Errorf("the answer is no JSON: %w", err))
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
		return lost(method, e, fmt.Errorf("the answer makes no sense: %w", err))
	}
	return nil
}

// version of the server; it needs no session.
func (c *client) version(ctx context.Context) (string, error) {
	var v string
	err := c.post(ctx, reads, "", "", &v, "common.server.version")
	return strings.TrimSpace(v), err
}
