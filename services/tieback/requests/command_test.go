package requests

import (
	"context"
	"strings"
	"testing"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// short lists five requests on pages of two, none, two and one: its searches end before a page is full.
type short struct {
	operatorv1connect.UnimplementedRequestServiceHandler
}

func (short) ListRequests(_ context.Context, r *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error) {
	page := map[string]struct {
		ids  []int64
		next string
	}{"": {[]int64{41, 42}, "a"}, "a": {nil, "b"}, "b": {[]int64{43, 44}, "c"}, "c": {[]int64{45}, ""}}[r.PageToken]
	out := &operatorv1.ListRequestsResponse{NextPageToken: page.next}
	for _, id := range page.ids[:min(len(page.ids), int(r.PageSize))] {
		out.Requests = append(out.Requests, &operatorv1.RequestRow{RequestId: id, CompanyId: 7})
	}
	return out, nil
}

// The command reads pages until it has --limit requests, however short the pages are.
func TestShortPages(t *testing.T) {
	_, handler := operatorv1connect.NewRequestServiceHandler(short{})
	t.Setenv("TIEBACK_URL", commandtest.HTTP(t, handler.ServeHTTP))
	for _, c := range []struct {
		args []string
		want string // ids
		more bool
	}{
		{nil, "41 42 43 44 45", false},
		{[]string{"--limit", "4"}, "41 42 43 44", true},
	} {
		var b strings.Builder
		cmd := Command()
		cmd.SetArgs(c.args)
		cmd.SetOut(&b)
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, "4") {
				ids = append(ids, line[:2])
			}
		}
		if got := strings.Join(ids, " "); got != c.want || strings.Contains(b.String(), "There are more") != c.more {
			t.Errorf("requests %v lists %s; want %s, more: %v\n%s", c.args, got, c.want, c.more, &b)
		}
	}
}
