package connection

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// Namespace is the default namespace of our hooks in Procore.
const Namespace = "tieback"

// APIVersion is the payload version of deliveries that a new hook requests. ingest reads all versions.
const APIVersion = "v2.0"

// Destination returns the URL to which Procore delivers for a company.
func Destination(base string, id int64) string {
	return fmt.Sprintf("%s/webhooks/procore/%d", strings.TrimRight(base, "/"), id)
}

// Probe asks ingest at a company's destination whether it accepts a token. It returns an error if that can't
// be determined from here.
func Probe(ctx context.Context, client *http.Client, destination string, id int64, token company.Secret) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body := fmt.Appendf(nil, `{"id":0,"event_type":"probe","resource_name":"Tieback Setup","resource_id":0,"company_id":%d}`, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, destination, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+string(token))
	noRedirect := *client
	noRedirect.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is only for ingest
	resp, err := noRedirect.Do(req)
	if err != nil {
		return false, err
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("%s responded %d, which ingest would not do", destination, resp.StatusCode)
}
