package doctor

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/localfile"
	"github.com/tieback/tieback/pkg/secretfile"
)

// checkSettings reports each mistake in the environment.
func (d *Doctor) checkSettings(r *findings) {
	for _, line := range lines(d.Mistakes) {
		r.problem("settings", "correct the variable", "%s", line)
	}
	if d.Mistakes == nil {
		r.ok("settings", "the variables are valid; Procore is at %s", d.Settings.ProcoreAPIURL)
	}
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// checkCompaniesFile reports each mistake in the file, and checks the permissions of the file and of those that it names.
func (d *Doctor) checkCompaniesFile(r *findings) {
	const check = "companies file"
	for _, err := range d.EntryMistakes {
		for _, line := range lines(err) {
			r.problem(check, "correct it, or run tieback setup", "%s", strings.TrimPrefix(line, "companies file: "))
		}
	}
	for _, id := range d.Only {
		if d.Companies[id] == nil {
			r.addOf(id, check, Problem, "tieback setup --company N adds it", "the company is not in it, or its entry has a mistake")
		}
	}
	if len(d.Companies) > 0 {
		r.ok(check, "%s has %d valid entries", d.Settings.Companies, len(d.Companies))
	}
	for _, path := range append(company.Files(d.Settings.Companies), d.Settings.NATSNKeyFile) {
		if secretfile.Exposed(path) {
			r.warn(check, "chmod o-rwx "+path, "all users of this machine can read %s", path)
		}
	}
	d.checkClients(r)
}

// checkClients warns of companies with the same client_id that do not share a named client: each logs in, and counts its
// rate limits, as if it had them alone.
func (d *Doctor) checkClients(r *findings) {
	same := map[string][]string{}
	for _, id := range sorted(d.Companies) {
		c := d.Companies[id].Client
		if c.Name == "" {
			same[c.Credentials().ID] = append(same[c.Credentials().ID], strconv.FormatInt(id, 10))
		}
	}
	for _, ids := range same {
		if len(ids) > 1 {
			r.warn("companies file", "add the client to the list clients, and refer to it in the companies: tieback setup --company N --client NAME",
				"the companies %s have the same client_id in separate entries, so they do not share login and limits", strings.Join(ids, ", "))
		}
	}
}

// minFree is how many bytes should be free for a data folder.
const minFree = 1 << 30

// checkData checks the folder of the embedded broker and ERP, if one of them is used.
// writable reports whether this user can create a file in dir.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

func (d *Doctor) checkData(r *findings) {
	const check = "data folder"
	ledger := slices.ContainsFunc(slices.Collect(maps.Values(d.Companies)), func(c *company.Company) bool { return c.Driver == "ledger" })
	if d.Settings.NATSURL != "" && !ledger {
		return
	}
	info, err := os.Stat(d.Settings.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.ok(check, "%s does not exist yet; it is created when needed", d.Settings.Data)
		return
	case err != nil || !info.IsDir():
		r.problem(check, "set TIEBACK_DATA to a folder that the services can read and write", "%s can't be read as a folder (%v)", d.Settings.Data, err)
		return
	case !writable(d.Settings.Data):
		r.problem(check, "make the user of the services its owner", "this user can't write %s", d.Settings.Data)
		return
	}
	if free, err := localfile.Free(d.Settings.Data); err == nil && free < minFree {
		r.warn(check, "free space on the disk: without space the broker stores nothing", "%s has %d MiB left", d.Settings.Data, free>>20)
		return
	}
	r.ok(check, "%s can be written", d.Settings.Data)
}
