package kubernetes

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// folders has the folder of each service's code. Imports from other folders of services count too.
var folders = map[string]string{
	"ingest": "ingest", "fetcher": "fetcher", "status-reporter": "status-reporter", "sweep": "sweep", "lag-exporter": "lag-exporter", "console": "console",
	"export": "worker/exports", "sync": "worker/syncs", "import": "worker/imports", "unlink": "worker/unlinks", "reset": "worker/resets",
}

// The network policies allow connections to Procore and the ERP exactly to the services whose code makes them.
func TestConnectionsMatchCode(t *testing.T) {
	for service := range names(services) {
		mentions := map[string]bool{}
		read(t, folders[service], map[string]bool{}, mentions)
		for what, drawn := range map[string]string{"Procore": procore, "ERP": erp} {
			if mentions[what] != names(drawn)[service] {
				t.Errorf("%s: calls %s: %v; a policy allows it: %v", service, what, mentions[what], names(drawn)[service])
			}
		}
	}
}

// read collects the names that the code of a folder of services, and of those that it imports, selects, such as Procore in
// task.Procore.
func read(t *testing.T, folder string, seen, mentions map[string]bool) {
	t.Helper()
	if seen[folder] {
		return
	}
	seen[folder] = true
	files, err := filepath.Glob(root + "/services/" + folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no code in %s: %v", folder, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				mentions[s.Sel.Name] = true
			}
			return true
		})
		for _, i := range file.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			if beside, ok := strings.CutPrefix(imported, "github.com/tieback/tieback/services/"); ok && exists(beside) {
				read(t, beside, seen, mentions)
			}
		}
	}
}

func exists(folder string) bool {
	_, err := os.Stat(filepath.Join(root, "services", folder))
	return err == nil
}
