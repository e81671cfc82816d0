package links

import (
	"strings"
	"testing"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/links"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// execute runs a line of `tieback links`.
func execute(t *testing.T, line string) (code int, out, errs string) {
	return commandtest.Run(t.Context(), Command(), line)
}

func TestExitCodes(t *testing.T) {
	commandtest.Settings(t, 7)
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"", 2, "list or rebuild"},
		{"rebuild", 2, "--company is missing"},
		{"rebuild --company 8", 2, "not in the companies file"},
		{"rebuild --company 7 -o xml", 2, "table or json"},
		{"rebuild --company 7 --colour red", 2, "colour"},
		{"list vendor job --company 7", 2, "at most 1 arg"},
		{"list --company 7", 0, "ITEM TYPE"},
	} {
		if code, out, errs := execute(t, c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
}

func TestEmbeddedBrokerInUse(t *testing.T) {
	commandtest.Settings(t, 7)
	_, leave := commandtest.Embedded(t)
	defer leave()
	code, _, errs := execute(t, "list --company 7")
	if code != 1 || !strings.Contains(errs, "Stop tieback run first") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestPrintReport(t *testing.T) {
	r := &operatorv1.LinkReport{
		CompanyId: 7, Saved: true, Lists: 3, Types: []*operatorv1.LinkCount{{ItemType: "vendor", InProcore: 3, Same: 1, New: 1, Different: 1, Gone: 1, Unchecked: 2}},
		Changes: []*operatorv1.LinkChange{
			{Kind: links.New, ItemType: "vendor", ItemId: 1, ProcoreOriginId: "V-1", Saved: true},
			{Kind: links.Different, ItemType: "vendor", ItemId: 2, StoredOriginId: "V-2", ProcoreOriginId: "V-3"},
			{Kind: links.Gone, ItemType: "vendor", ItemId: 4, StoredOriginId: "V-4"},
		},
		Unread:         []*operatorv1.UnreadList{{List: "sub_jobs_list", Of: "project 10", Why: "Procore answered 403"}},
		HiddenProjects: []int64{11},
	}
	show := func() string {
		var b strings.Builder
		if err := printReport(&b, r); err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(b.String()), " ")
	}
	text := show()
	for _, says := range []string{"vendor 3 1 1 1 1 2", "different vendor 2 V-2 V-3", "gone vendor 4 V-4 -", "sub_jobs_list project 10 Procore answered 403", "11 not permitted to the app", "1 link saved", "2 links differ from Procore"} {
		if !strings.Contains(text, says) {
			t.Errorf("no %q in %s", says, text)
		}
	}
	if strings.Contains(text, "new vendor 1") {
		t.Error("saved changes are listed")
	}
	r.Saved = false
	if text = show(); !strings.Contains(text, "new vendor 1 - V-1") || !strings.Contains(text, "Dry run: 1 link would be saved") {
		t.Errorf("a dry run shows %s", text)
	}
}
