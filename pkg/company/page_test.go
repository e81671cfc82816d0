package company

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConfigurationPage compares docs/configuration.md with this package: its example is a valid companies file, and its tables
// have exactly the fields of a client and of a company.
func TestConfigurationPage(t *testing.T) {
	raw, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(raw), "## The companies file\n")
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(page)
	if example == nil {
		t.Fatal("there is no example")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile(`((?:secret|token|tokens)_file: )[^\s}]+`).ReplaceAllString(example[1], "${1}"+secret)
	if _, err := Parse([]byte(file)); err != nil {
		t.Errorf("the example: %v", err)
	}
	fields := func(of string) (names []string) {
		_, table, _ := strings.Cut(page, "### "+of+"\n")
		table, _, _ = strings.Cut(table, "\n##")
		for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(table, -1) {
			for name := range strings.SplitSeq(row[1], ", ") {
				names = append(names, strings.Trim(name, "`"))
			}
		}
		slices.Sort(names)
		return names
	}
	for of, want := range map[string][]string{"Clients": fieldsOf[clientEntry](), "Companies": fieldsOf[entry]()} {
		slices.Sort(want)
		if got := fields(of); !slices.Equal(got, want) {
			t.Errorf("the table of %s has %v; the fields are %v", of, got, want)
		}
		for _, name := range want {
			if !strings.Contains(example[1], strings.TrimSuffix(name, "_file")) {
				t.Errorf("the example of %s lacks %s", of, name)
			}
		}
	}
}
