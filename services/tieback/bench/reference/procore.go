package reference

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// procore calls Procore for one company.
type procore struct {
	Config
	client *http.Client

	mu      sync.Mutex // held while a token is requested
	token   string
	expires time.Time
}

func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 4*concurrency
	return &http.Client{Transport: t, Timeout: ackWait}
}

// request returns the ERP request.
func (p *procore) request(ctx context.Context, id int64) ([]byte, error) {
	return p.call(ctx, http.MethodGet, fmt.Sprintf("erp_requests/%d", id), nil)
}

// report marks the records as synced, then closes the request detail. data is a result of erp.book.
func (p *procore) report(ctx context.Context, _ int64, data []byte) ([]byte, error) {
	var b booked
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, err
	}
	answer, err := p.call(ctx, http.MethodPatch, "external_data/sync", map[string]any{"updates": b.Marks})
	if err != nil {
		return nil, err
	}
	var refused struct {
		Errors []json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(answer, &refused); err != nil || len(refused.Errors) > 0 {
		return nil, fmt.Errorf("a mark was refused by Procore: %s %w", refused.Errors, err)
	}
	_, err = p.call(ctx, http.MethodPatch, fmt.Sprintf("erp_request_details/%d", b.Detail),
		map[string]any{"request_detail": map[string]any{"status": "success", "messages": []string{}}})
	if err != nil && strings.Contains(err.Error(), "already success") {
		return nil, nil // by an earlier attempt
	}
	return nil, err
}

// call calls a path of the company and returns the body of the answer.
func (p *procore) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	token, err := p.accessToken(ctx)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("%s/rest/v1.0/companies/%d/%s", p.Procore, p.Company, path)
	return send(ctx, p.client, method, url, body, map[string]string{
		"Authorization": "Bearer " + token, "Procore-Company-Id": strconv.FormatInt(p.Company, 10),
	})
}

// accessToken returns the token, after a request for one if there is none that is valid for another minute.
func (p *procore) accessToken(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.expires) {
		return p.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.ClientID}, "client_secret": {p.ClientSecret}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Procore+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := do(p.client, r)
	if err != nil {
		return "", err
	}
	var t struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if err := json.Unmarshal(answer, &t); err != nil {
		return "", err
	}
	p.token, p.expires = t.AccessToken, time.Now().Add(time.Duration(t.ExpiresIn)*time.Second-time.Minute)
	return p.token, nil
}

// send sends a body as JSON, if it is not nil, and returns the body of the answer.
func send(ctx context.Context, c *http.Client, method, url string, body any, header map[string]string) ([]byte, error) {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return do(c, r)
}

func do(c *http.Client, r *http.Request) ([]byte, error) {
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	b.Grow(int(max(resp.ContentLength, 0)) + bytes.MinRead)
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.300s", r.Method, r.URL.Path, resp.Status, b.Bytes())
	}
	return b.Bytes(), nil
}
