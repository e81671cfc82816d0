//go:build unix

// Package local runs a Tryton of its own: a private PostgreSQL and a trytond on free
// loopback ports, with a company set up, for tests, demos and trying out. It ends only
// processes that it started. The database trusts whoever is on this machine.
package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Available says why a Tryton can't be run here; nil: it can.
func Available() error {
	var missing []string
	for _, p := range []struct{ found, pkg string }{
		{find("trytond"), "tryton-server"}, {find("trytond-admin"), "tryton-server"},
		{postgres("postgres"), "postgresql"}, {postgres("initdb"), "postgresql"},
		{debian("psycopg2"), "python3-psycopg2"},
		{debian("trytond/modules/analytic_purchase"), "tryton-modules-analytic-purchase"},
		{debian("trytond/modules/analytic_invoice"), "tryton-modules-analytic-invoice"},
		{debian("trytond/modules/analytic_sale"), "tryton-modules-analytic-sale"},
	} {
		if p.found == "" && !slices.Contains(missing, p.pkg) {
			missing = append(missing, p.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a Tryton of this machine needs %s: apt-get install -y --no-install-recommends %s",
			strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	return nil
}

func find(program string) string {
	for _, p := range []string{"/usr/bin/" + program, "/usr/local/bin/" + program} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	p, _ := exec.LookPath(program)
	return p
}

// postgres finds a program of the newest PostgreSQL; Debian keeps them out of the PATH.
func postgres(program string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1]
	}
	return find(program)
}

// debian finds a Python package of the system's Python, which is the one trytond runs with.
func debian(name string) string {
	for _, dir := range []string{"/usr/lib/python3/dist-packages/", "/usr/local/lib/python3*/dist-packages/", "/usr/local/lib/python3*/site-packages/"} {
		if found, _ := filepath.Glob(dir + name); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}
