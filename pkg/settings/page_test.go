package settings_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/settings"
)

// TestConfigurationPage checks that the first table of docs/configuration.md has exactly the variables that Load reads, with
// their defaults.
func TestConfigurationPage(t *testing.T) {
	raw, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page, _, ok := strings.Cut(string(raw), "### Variables of the commands\n") // Load does not read those
	if !ok {
		t.Fatal("the page has no variables of the commands")
	}
	var read []string
	defaults, err := settings.Load(func(name string) string {
		if !slices.Contains(read, name) {
			read = append(read, name)
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(read)
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(TIEBACK_[A-Z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(page, -1) {
		listed = append(listed, row[1])
		value := strings.Trim(row[2], " ")
		if row[1] == "TIEBACK_WEBHOOKS" { // relative to the companies file, which is not set here
			continue
		}
		s, err := settings.Load(func(name string) string {
			if name == row[1] {
				return strings.Trim(value, "`")
			}
			return ""
		})
		if err != nil || !reflect.DeepEqual(s, defaults) {
			t.Errorf("%s: %s is not the default: %v", row[1], value, err)
		}
		if value == "" && !empty(defaults, row[1], t) {
			t.Errorf("%s has a default that the page does not show", row[1])
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, read) {
		t.Errorf("the page lists\n%v\nand Load reads\n%v", listed, read)
	}
}

// empty reports whether the default of a variable is the empty string.
func empty(defaults settings.Settings, name string, t *testing.T) bool {
	t.Helper()
	const value = "http://127.0.0.1:1"
	s, err := settings.Load(func(n string) string {
		if n == name {
			return value
		}
		return ""
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	before, after := reflect.ValueOf(defaults), reflect.ValueOf(s)
	for i := range before.NumField() {
		if before.Field(i).Kind() == reflect.String && after.Field(i).String() == value {
			return before.Field(i).String() == ""
		}
	}
	return false
}
