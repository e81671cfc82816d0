package doctor

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/secretfile"
)

// checkSettings tells each mistake in the environment.
func (d *Doctor) checkSettings(r *report) {
	for _, line := range lines(d.Mistakes) {
		r.problem("settings", "correct the variable", "%s", line)
	}
	if d.Mistakes == nil {
		r.ok("settings", "the variables make sense; Procore is at %s", d.Settings.ProcoreAPIURL)
	}
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// checkCompaniesFile tells each mistake of the file, and who can read it and the files that it names.
func (d *Doctor) checkCompaniesFile(r *report) {
	const check = "companies file"
	for _, err := range d.Entries {
		for _, line := range lines(err) {
			r.problem(check, "correct what it names, or have tieback setup make it", "%s", strings.TrimPrefix(line, "companies file: "))
		}
	}
	if d.OnlyFor != 0 && d.Companies[d.OnlyFor] == nil {
		r.problem(check, "tieback setup --company N adds it", "company %d is not in it, or its entry has a mistake", d.OnlyFor)
	}
	if len(d.Companies) > 0 {
		r.ok(check, "%s: companies that can be served: %d", d.Settings.Companies, len(d.Companies))
	}
	for _, path := range append(company.Files(d.Settings.Companies), d.Settings.NATSNKeyFile) {
		if secretfile.Exposed(path) {
			r.warn(check, "chmod o-rwx "+path, "everybody on this machine can read %s", path)
		}
	}
	d.checkClients(r)
}

// checkClients warns of companies that have the same client each for itself: each would log in, and count its limits,
// as if it were alone.
func (d *Doctor) checkClients(r *report) {
	same := map[string][]string{}
	for _, id := range sorted(d.Companies) {
		c := d.Companies[id].Client
		if c.Name == "" {
			same[c.Credentials().ID] = append(same[c.Credentials().ID], strconv.FormatInt(id, 10))
		}
	}
	for _, ids := range same {
		if len(ids) > 1 {
			r.warn("companies file", "put the client into the list clients, and let the companies refer to it: tieback setup --company N --client NAME",
				"the companies %s have the same client_id, each for itself: their logins and limits are not shared", strings.Join(ids, ", "))
		}
	}
}

// least is how much room a data folder should have left, in bytes.
const least = 1 << 30

// checkData looks at the folder of the embedded broker and ERP, where one of them is used.
func (d *Doctor) checkData(r *report) {
	const check = "data folder"
	ledger := slices.ContainsFunc(slices.Collect(maps.Values(d.Companies)), func(c *company.Company) bool { return c.Driver == "ledger" })
	if d.Settings.NATSURL != "" && !ledger {
		return
	}
	info, err := os.Stat(d.Settings.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.ok(check, "%s is not there yet; it is made when something is kept", d.Settings.Data)
		return
	case err != nil || !info.IsDir():
		r.problem(check, "give TIEBACK_DATA a folder that the services can read and write", "%s is no folder that can be read (%v)", d.Settings.Data, err)
		return
	case syscall.Access(d.Settings.Data, 2) != nil: // W_OK
		r.problem(check, "give the folder to the user of the services", "%s can't be written by this user", d.Settings.Data)
		return
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(d.Settings.Data, &disk); err == nil && disk.Bavail*uint64(disk.Bsize) < least { //nolint:gosec,unconvert // a block has a positive size, of another type elsewhere
		r.warn(check, "make room: a broker without any takes nothing", "%s has %d MiB left", d.Settings.Data, disk.Bavail*uint64(disk.Bsize)>>20) //nolint:gosec,unconvert // likewise
		return
	}
	r.ok(check, "%s can be written", d.Settings.Data)
}
