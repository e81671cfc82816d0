//go:build unix

// Package local runs a private Tryton: a PostgreSQL and a trytond on free loopback ports, with a company, for
// tests, demos and experiments. It ends only processes that it started. The database trusts every user of
// this machine.
package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Available returns why a Tryton can't run on this machine, or nil if it can.
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
		return fmt.Errorf("a local Tryton needs %s: apt-get install -y --no-install-recommends %s",
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

// postgres finds a program of the newest PostgreSQL. Debian does not install them in the PATH.
func postgres(program string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1]
	}
	return find(program)
}

// debian finds a package of the system's Python, which trytond uses.
func debian(name string) string {
	for _, dir := range []string{"/usr/lib/python3/dist-packages/", "/usr/local/lib/python3*/dist-packages/", "/usr/local/lib/python3*/site-packages/"} {
		if found, _ := filepath.Glob(dir + name); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}
