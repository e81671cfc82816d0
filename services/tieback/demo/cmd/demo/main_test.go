package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tieback/tieback/"

// heavy are packages that `make run` does not need. They take long to compile.
var heavy = []string{
	module + "pkg/connector/conformance", module + "services/connectors/tryton", module + "services/console", module + "services/tieback/backup",
	module + "services/tieback/bench", "connectrpc.com/connect", "filippo.io/age", "github.com/coreos/go-oidc/v3", "github.com/minio/minio-go/v7",
	"github.com/spf13/cobra", "testing",
}

// The program runs all services, and contains no package of heavy.
func TestCompilesFast(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	deps := strings.Fields(string(out))
	for _, pkg := range deps {
		for _, h := range heavy {
			if pkg == h || strings.HasPrefix(pkg, h+"/") {
				t.Errorf("the demo contains %s", pkg)
			}
		}
	}
	if !slices.Contains(deps, module+"services/tieback/run") {
		t.Error("the demo does not contain services/tieback/run, which runs all services")
	}
}
