package setup

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// reach is how ingest answered a delivery of ours, which is about nothing and so stored nowhere.
type reach int

const (
	unasked reach = iota
	accepts       // it is there, and takes the token
	refuses       // it is there, and knows neither the company nor the token yet
	silent        // no answer from here, or somebody else's; Procore may reach it all the same
)

// Probe asks ingest at a company's destination whether it takes a token: true, false, or an error where it
// can't be told from here.
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
	alone := *client
	alone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for nobody else
	resp, err := alone.Do(req)
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
	return false, fmt.Errorf("%s answered %d, which ingest would not", destination, resp.StatusCode)
}

func (w *work) probe(ctx context.Context, token company.Secret) reach {
	if w.entry.Get("url") == "" {
		return unasked
	}
	takes, err := Probe(ctx, w.Client, w.destination(), w.id(), token)
	switch {
	case err != nil:
		return silent
	case takes:
		return accepts
	}
	return refuses
}

// await waits until ingest takes the newest token, where it serves the company and can be asked from here. Else
// nothing is lost either: Procore repeats what was refused for 12 hours.
func (w *work) await(ctx context.Context) error {
	if w.reached != accepts {
		return nil
	}
	until := time.Now().Add(w.Patience)
	for w.probe(ctx, w.newest()) != accepts {
		if time.Now().After(until) {
			return fmt.Errorf("ingest does not take the new webhook token from its file after %v, so the hook was left as it is: "+
				"can the services read the file, and is it the one that they read? Then run this again", w.Patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(w.Backoff, time.Second)):
		}
	}
	return nil
}
