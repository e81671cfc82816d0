package bus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// UsersFile is all users with their permissions, as the broker's configuration has them, for
//
//	authorization { include "users.conf" }
//
// Of each, keys has the public nkey (U…) by name; one that is missing is an error. There is no secret in it.
func UsersFile(keys map[string]string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Who may do what at the broker, by public nkey. Made by `streams keys`: do not edit it, run that again.\nusers = [\n")
	for _, u := range users() {
		if keys[u.name] == "" {
			return nil, fmt.Errorf("no key for %s", u.name)
		}
		r := u.rights()
		fmt.Fprintf(&b, "  {\n    # %s\n    nkey: %s\n    permissions: {\n      publish: {\n", u.name, strconv.Quote(keys[u.name]))
		list(&b, "allow", r.allow)
		if r.deny != nil {
			list(&b, "deny", r.deny)
		}
		fmt.Fprintf(&b, "      }\n      subscribe: { allow: [%s] }\n    }\n  }\n", strconv.Quote(inbox(u.name)+".>"))
	}
	b.WriteString("]\n")
	return []byte(b.String()), nil
}

func list(b *strings.Builder, name string, subjects []string) {
	fmt.Fprintf(b, "        %s: [\n", name)
	for _, s := range slices.Compact(slices.Sorted(slices.Values(subjects))) {
		fmt.Fprintf(b, "          %s\n", strconv.Quote(s))
	}
	b.WriteString("        ]\n")
}
