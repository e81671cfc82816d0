package doctor

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
)

// checkServices checks the version and readiness of the services at the given admin ports.
func (d *Doctor) checkServices(ctx context.Context, r *findings) {
	r.ok("version", "this is tieback %s", d.Version)
	var wait sync.WaitGroup
	found := make([]findings, len(d.Admin))
	for i, addr := range d.Admin {
		wait.Go(func() { d.checkService(ctx, &found[i], addr, true) })
	}
	wait.Wait()
	for i := range found {
		r.all = append(r.all, found[i].all...)
	}
	if d.OptionalAdmin != "" && len(d.Admin) == 0 {
		d.checkService(ctx, r, d.OptionalAdmin, false)
	}
}

func (d *Doctor) checkService(ctx context.Context, r *findings, addr string, required bool) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	metrics, _, err := d.get(ctx, "http://"+addr+"/metrics")
	if err != nil {
		if required {
			r.problem("service", "start it, or correct --admin", "nothing answers at %s: %v", addr, err)
		}
		return
	}
	service, version := buildInfo(metrics)
	switch {
	case service == "" && required:
		r.warn("service", "", "%s answers without a version", addr)
	case service == "":
		return // another program
	case version != d.Version:
		r.warn("service", "upgrade the older one; both can run together meanwhile", "%s at %s is version %s, this is %s", service, addr, version, d.Version)
	default:
		r.ok("service", "%s at %s is version %s", service, addr, version)
	}
	why, status, err := d.get(ctx, "http://"+addr+"/readyz")
	if err != nil || status != http.StatusOK {
		r.problem("service", "see its log", "%s is not ready: %d %s", addr, status, why)
	}
}

func (d *Doctor) get(ctx context.Context, url string) (body string, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := d.Client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return string(raw), resp.StatusCode, err
}

var label = regexp.MustCompile(`(service|version)="([^"]*)"`)

// buildInfo returns a service's name and version from its metrics.
func buildInfo(metrics string) (service, version string) {
	for lines := bufio.NewScanner(strings.NewReader(metrics)); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "tieback_build_info{") {
			continue
		}
		for _, m := range label.FindAllStringSubmatch(lines.Text(), -1) {
			if m[1] == "service" {
				service = m[2]
			} else {
				version = m[2]
			}
		}
	}
	return service, version
}
