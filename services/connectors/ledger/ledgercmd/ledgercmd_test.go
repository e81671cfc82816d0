package ledgercmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		says string // on stdout if code is 0, else on stderr
	}{
		{"add vendor --company 7 --name Stahl&Söhne --code STEEL", 0, "V-000001"},
		{"--company 7 add job --name Bridge --code J1", 0, "JOB-000001"},
		{"add job --company 7 --name Other --code J1", 1, `The job code "J1" is already used`},
		{"add standard_category --company 7 --name Material --code M", 0, "CAT-000001"},
		{"add cost-code --company 7 --name Steel --code 05 --job J1", 0, "CC-000001"},
		{"add commitment --company 7 --job J1 --vendor STEEL --line 05,M,0.1,bolts --line 05,M,0.2,nuts,big", 0, "nuts,big"},
		{"list commitments --company 7", 0, "0.3"},
		{"show commitment PO-000001 --company 7 -o json", 0, `"PO-000001-2"`},
		{"list vendors --company 7 -o json", 0, "Stahl&Söhne"},
		{"delete vendor V-000001 --company 7", 1, `commitment "PO-000001" depends on it`},
		{"delete commitment PO-000001 --company 7", 0, "Deleted commitment PO-000001"},
		{"show commitment PO-000001 --company 7", 1, "was deleted"},
		{"delete vendor V-9 --company 7", 1, `no vendor "V-9"`},
		{"check --company 7", 0, "The books balance"},
		{"accept-loss --company 7", 0, "New records are numbered from"},
		{"accept-loss --company 7 now", 2, "unexpected argument"},
		{"check --company 7", 0, "The books balance"},
		{"--help", 0, "--line"},
		{"", 2, "the command is missing"},
		{"list vendor", 2, "--company is missing"},
		{"list vender --company 7", 2, "the entities are: standard_cost_code"},
		{"list --company 7", 2, "ENTITY is missing"},
		{"show vendor --company 7", 2, "ORIGIN_ID is missing"},
		{"book vendor --company 7", 2, "is not a command"},
		{"list vendor V-1 --company 7", 2, "unexpected argument"},
		{"list vendor --company seven", 2, "seven"},
		{"list vendor --company 7 -o xml", 2, "table or json"},
		{"add commitment --company 7 --line 05", 2, "cost_code,category,amount"},
		{"add commitment --company 7 --colour red", 2, "colour"},
	} {
		var out, errs strings.Builder
		code := Run(t.Context(), strings.Fields(c.args), dir, &out, &errs)
		got := out.String()
		if c.code != 0 {
			got = errs.String()
		}
		if code != c.code || !strings.Contains(got, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\nstdout %s\nstderr %s", c.args, code, c.code, c.says, &out, &errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ledger", "ledger-7.db")); err != nil {
		t.Error(err)
	}
}

func TestTypoCreatesNoFile(t *testing.T) {
	dir := t.TempDir()
	var out, errs strings.Builder
	Run(t.Context(), []string{"list", "vender", "--company", "7"}, dir, &out, &errs)
	if found, err := os.ReadDir(dir); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if code := Run(t.Context(), []string{"list", "vendor", "--company", "7"}, "", &out, &errs); code != 2 || !strings.Contains(errs.String(), "TIEBACK_DATA") {
		t.Errorf("exit %d: %s", code, &errs)
	}
}
