package sandbox_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
)

// A skewed clock affects the times that Procore reports, but not the times of Request.
func TestSkewClock(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	const ahead = 6 * time.Hour
	sb.SkewClock(ahead)
	id, err := sb.Press(mine, "sync_vendors", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, body, header := u.do("GET", "/rest/v1.0/companies/7/erp_requests/"+strconv.FormatInt(id, 10), "")
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || off(date, ahead) {
		t.Errorf("Date is %q", header.Get("Date"))
	}
	reset, err := strconv.ParseInt(header.Get("X-Rate-Limit-Reset"), 10, 64)
	if err != nil || off(time.Unix(reset, 0), ahead+time.Hour) {
		t.Errorf("X-Rate-Limit-Reset is %q", header.Get("X-Rate-Limit-Reset"))
	}
	var request struct {
		Created time.Time `json:"created_at"`
	}
	if err := json.Unmarshal([]byte(body), &request); err != nil || off(request.Created, ahead) {
		t.Errorf("created_at is %v, %v", request.Created, err)
	}
	if r, _ := sb.Request(id); off(r.Clicked, 0) {
		t.Errorf("Clicked is %v", r.Clicked)
	}
	sb.SkewClock(0)
	_, _, header = u.do("GET", "/rest/v1.0/companies/7/erp_requests/"+strconv.FormatInt(id, 10), "")
	if date, err = http.ParseTime(header.Get("Date")); err != nil || off(date, 0) {
		t.Errorf("after the reset, Date is %q", header.Get("Date"))
	}
}

// off reports whether a time is not within minutes of the expected one.
func off(at time.Time, ahead time.Duration) bool {
	return time.Since(at.Add(-ahead)).Abs() > 10*time.Minute
}
