package company_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

const good = `companies:
  - id: 598134325841112
    name: Acme Builders
    client_id: abc
    client_secret_file: %s
    webhook_tokens: ["old-token-old-token", "new-token-new-token"]
    standard_cost_code_list_id: 2
    connector: {driver: ledger, password_file: %s}
    time_zone: America/Chicago
`

func TestParse(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := company.Parse(fmt.Appendf(nil, good, secret, secret))
	if err != nil {
		t.Fatal(err)
	}
	c := set[598134325841112]
	credentials := c.Client.Credentials()
	if credentials.ID != "abc" || string(credentials.Secret) != "s3cr3t" || c.Driver != "ledger" || c.Settings()["password"] != "s3cr3t" || c.StandardCostCodeListID != 2 || c.Zone.String() != "America/Chicago" {
		t.Errorf("%+v", c)
	}
	for token, want := range map[string]bool{"old-token-old-token": true, "new-token-new-token": true, "": false, "old-token-old-toke": false} {
		if c.Authentic(token) != want {
			t.Errorf("Authentic(%q) = %v", token, !want)
		}
	}
	var unknown *company.Company
	if unknown.Authentic("") || unknown.Authentic("old-token-old-token") {
		t.Error("an unknown company has a token")
	}
	if printed := fmt.Sprintf("%v %+v %#v %+v %#v", c, c, c, credentials, credentials); strings.Contains(printed, "s3cr3t") {
		t.Errorf("a secret prints: %s", printed)
	}
}

func TestErrorOfParseNamesCompanyAndField(t *testing.T) {
	const base = `companies: [{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: x}}]`
	for name, c := range map[string]struct{ file, says string }{
		"empty":             {``, "the list is empty"},
		"no id":             {strings.Replace(base, "id: 7, ", "", 1), "companies[0]: id"},
		"no client id":      {strings.Replace(base, "client_id: c, ", "", 1), "client_id: is missing"},
		"no secret":         {strings.Replace(base, "client_secret: s, ", "", 1), "client_secret: is missing"},
		"secret twice":      {strings.Replace(base, "client_secret: s", "client_secret: s, client_secret_file: f", 1), "give either client_secret or client_secret_file"},
		"secret for a file": {strings.Replace(base, "client_secret: s", "client_secret_file: hush", 1), "client_secret_file: it must be the path of a readable file: no such file"},
		"secret file gone":  {strings.Replace(base, "client_secret: s", "client_secret_file: /nowhere", 1), "client_secret_file"},
		"no token":          {strings.Replace(base, "[0123456789abcdef]", "[]", 1), "webhook_tokens"},
		"three tokens":      {strings.Replace(base, "[0123456789abcdef]", "[a,b,c]", 1), "there are 3"},
		"short token":       {strings.Replace(base, "0123456789abcdef", "abc", 1), "at least 16"},
		"no driver":         {strings.Replace(base, "{driver: x}", "{}", 1), "connector.driver"},
		"no time zone":      {strings.Replace(base, "client_id: c", "client_id: c, time_zone: Chicago", 1), "time_zone: must be the IANA name"},
		"resets":            {strings.Replace(base, "client_id: c", "client_id: c, resets: yes", 1), "resets: must be keep"},
		"this machine's":    {strings.Replace(base, "client_id: c", "client_id: c, time_zone: Local", 1), "time_zone: must be the IANA name"},
		"misspelt field":    {strings.Replace(base, "client_id: c", "client_id: c, cleint: d", 1), "not a field of a company: cleint (line 1); its fields are id, name, client, client_id, "},
		"misspelt, merged":  {"companies: [{<<: &m {cleint: d}, " + base[len("companies: [{"):], "cleint (line 1)"},
		"and another one":   {strings.Replace(base, "client_id: c", "cleint_id: c, nam: d", 1), "cleint_id (line 1), nam (line 1)"},
		"and what it lacks": {strings.Replace(base, "client_id: c", "cleint_id: c", 1), "client_id: is missing"},
		"of the file":       {base + "\ncompanys: 5\n", "line 2: companys is not a field of the companies file; its fields are clients and companies"},
		"listed twice":      {base[:len(base)-1] + ", " + base[len("companies: ["):], "listed twice"},
		"id of text":        {strings.Replace(base, "id: 7,", "id: seven,", 1), "line 1: expected a whole number, found a text"},
		"no list":           {"companies: {id: 7}", "line 1: expected a list of companies, found a mapping"},
		"tokens of text":    {strings.Replace(base, "[0123456789abcdef]", "0123456789abcdef", 1), "line 1: expected a list of texts, found a text"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := company.Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestDefaultTimeZoneIsUTC(t *testing.T) {
	set, err := company.Parse([]byte(`companies: [{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: x}}]`))
	if err != nil {
		t.Fatal(err)
	}
	if set[7].Zone != time.UTC || company.New(8, company.Secrets{}).Zone != time.UTC {
		t.Errorf("%v", set[7].Zone)
	}
}

// A value that the YAML package quotes may contain quotation marks.
func TestErrorHidesValueWithQuotationMarks(t *testing.T) {
	for _, file := range []string{
		"companies: [{id: 'a`hush`b'}]", "companies: [{id: \"a`\\nhush\"}]", "companies: [{webhook_tokens: 'a`hush'}]", "companies: 'a`hush'",
		"companies: [{\"a`\\\"hush\": 1}]", "\"a`\\\"hush\": 1\n", "companies: [{\"a\\\"hush\": 1, \"a\\\"hush\": 1}]", "companies: [{id: 7, '`hush': 1, '`hush': 2}]",
		"companies: [{webhook_tokens: !hush a}]", "companies: [{id: !!hush a}]", "companies: [{connector: !a%20hush b}]", "\"a\\nhush\": 1\n", "companies: [{id: !!int 'x`hush'}]",
	} {
		_, err := company.Parse([]byte(file))
		if err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A secret file that is not a regular file is refused by name and not read.
func TestSecretFileMustBeRegular(t *testing.T) {
	dir := t.TempDir()
	secret, marked, large := filepath.Join(dir, "secret"), filepath.Join(dir, "marked"), filepath.Join(dir, "large")
	for path, content := range map[string]string{secret: "s3cr3t-s3cr3t-s3cr3t", marked: "\ufeffs3cr3t-s3cr3t-s3cr3t", large: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	fields := []string{"client_secret_file", "webhook_tokens_file", "connector.password_file"}
	text := func(paths ...any) []byte {
		return fmt.Appendf(nil, "companies: [{id: 7, client_id: c, client_secret_file: %s, webhook_tokens_file: %s, connector: {driver: x, password_file: %s}}]", paths...)
	}
	for path, want := range map[string]string{"/dev/zero": "not a regular file", dir: "not a regular file", large: "larger than 16 MiB", marked: "byte order mark"} {
		for i, field := range fields {
			paths := []any{secret, secret, secret}
			paths[i] = path
			_, err := company.Parse(text(paths...))
			if err == nil || !strings.Contains(err.Error(), field) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s of %s: %v", field, path, err)
			}
		}
		if _, _, err := company.Load(path); err == nil || path != marked && !strings.Contains(err.Error(), want) {
			t.Errorf("a companies file of %s: %v", path, err)
		}
	}
	if _, err := company.Parse(text(secret, secret, secret)); err != nil {
		t.Error(err)
	}
}

func TestFilesReturnsTheSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "companies.yaml")
	const text = `clients: [{name: acme, client_id: c, client_secret_file: /s/acme}]
companies:
  - {id: 7, client: acme, webhook_tokens_file: /s/tokens, metadata_file: /m, connector: {driver: x, password_file: /s/password}}
  - {id: 8, client: acme, webhook_tokens_file: /s/tokens, connector: {driver: x}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(company.Files(path), " "); got != path+" /s/acme /s/tokens /s/password" {
		t.Error(got)
	}
}
