package main

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/bus"
)

// repository is the path of the repository's root from this package.
const repository = "../.."

// files returns the text of each file of the repository whose name has the ending, by its path from the root.
func files(t *testing.T, ending string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == ".tieback" || d.Name() == "bin"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ending):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(repository, path)
		all[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pages returns the Markdown files.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := files(t, ".md")
	if all["README.md"] == "" || all["docs/operate.md"] == "" {
		t.Fatal("README.md or docs/operate.md is missing")
	}
	return all
}

var (
	fence      = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	markLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	isExternal = regexp.MustCompile(`^[a-z]+:`)
)

// anchors returns the anchors of a page's headings, as GitHub makes them. No page has two equal headings.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		text := linkText.ReplaceAllString(h[1], "$1")
		all[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, text)] = true
	}
	return all
}

// TestLinks follows each relative link of each page, to its file and its heading.
func TestLinks(t *testing.T) {
	all := pages(t)
	seen := 0
	for path, page := range all {
		prose := codeSpan.ReplaceAllString(fence.ReplaceAllString(page, ""), "")
		for _, m := range markLink.FindAllStringSubmatch(prose, -1) {
			if isExternal.MatchString(m[1]) {
				continue
			}
			seen++
			file, anchor, _ := strings.Cut(m[1], "#")
			file, err := url.PathUnescape(file)
			if err != nil {
				t.Errorf("%s: %s: %v", path, m[1], err)
				continue
			}
			target := path
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, m[1])
			} else if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", path, m[1], target)
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d links found", seen)
	}
}

// TestReadmeLength limits the length of the README.
func TestReadmeLength(t *testing.T) {
	if n := strings.Count(pages(t)["README.md"], "\n"); n > 150 {
		t.Errorf("README.md has %d lines, at most 150 are allowed: move details to docs", n)
	}
}

// TestVariablesExist checks the environment variables in pages and help texts: each is in pkg/settings, docker-compose.yml or .env,
// or is the name of a stream.
func TestVariablesExist(t *testing.T) {
	var sources strings.Builder
	for _, path := range []string{"pkg/settings/settings.go", "docker-compose.yml", ".env"} {
		text, err := os.ReadFile(filepath.Join(repository, path))
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(text)
	}
	for _, k := range bus.Kinds {
		sources.WriteString(k.Stream() + "\n")
		sources.WriteString("TIEBACK_RETENTION_" + strings.ToUpper(string(k)) + "\n")
	}
	variable := regexp.MustCompile(`\bTIEBACK_[A-Z_]*[A-Z]\b`)
	exist := variable.FindAllString(sources.String(), -1)
	texts := pages(t)
	delete(texts, "CHANGELOG.md") // it has the variables of earlier versions
	var help func(*cobra.Command)
	help = func(cmd *cobra.Command) {
		texts[cmd.CommandPath()] = cmd.Long
		for _, c := range cmd.Commands() {
			help(c)
		}
	}
	help(root())
	for where, text := range texts {
		for _, name := range variable.FindAllString(text, -1) {
			if !slices.Contains(exist, name) {
				t.Errorf("%s names %s, which does not exist", where, name)
			}
		}
	}
}
