package bus

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tiebackAccount holds the streams.
const tiebackAccount = "tieback"

// accountOf is the account of a service's user.
func accountOf(service string) string { return tiebackAccount + "-" + service }

// UsersFile is the accounts of all services, their users and what each may do, as the broker's
// configuration has them, for
//
//	accounts { include "users.conf" }
//
// Of each service, keys has the public nkeys (U…) by name: one, or two while they are rotated; a service
// without a key is an error. The file holds no secret.
func UsersFile(keys map[string][]string) ([]byte, error) {
	all := users()
	exported := map[grant][]string{}
	var services strings.Builder
	for _, u := range all {
		if len(keys[u.name]) == 0 {
			return nil, fmt.Errorf("no key for %s", u.name)
		}
		g := u.grants()
		for _, one := range g {
			exported[one] = append(exported[one], accountOf(u.name))
		}
		account(&services, u.name, keys[u.name], g)
	}
	var b strings.Builder
	b.WriteString("# Accounts of Tieback at the broker. Written by `provisioner keys`: do not edit it, run that again.\n")
	fmt.Fprintf(&b, "%s: {\n  jetstream: enabled\n  exports: [\n", tiebackAccount)
	for _, g := range slices.SortedFunc(maps.Keys(exported), compareGrants) {
		kind := ""
		if g.many {
			kind = ", response_type: stream, response_threshold: 30s"
		}
		fmt.Fprintf(&b, "    {service: %s%s, accounts: [%s]}\n", strconv.Quote(g.subject), kind, strings.Join(exported[g], ", "))
	}
	b.WriteString("  ]\n}\n")
	b.WriteString(services.String())
	return []byte(b.String()), nil
}

// account writes the account of one service: its user by each of its keys, and its imports.
func account(b *strings.Builder, service string, keys []string, all grants) {
	var subjects []string
	for _, g := range all {
		subjects = append(subjects, strconv.Quote(g.local()))
	}
	fmt.Fprintf(b, "%s: {\n  users: [\n", accountOf(service))
	for _, key := range keys {
		fmt.Fprintf(b, "    {nkey: %s, permissions: {publish: {allow: [%s]}, subscribe: {allow: [%s]}}}\n",
			strconv.Quote(key), strings.Join(subjects, ", "), strconv.Quote(inbox(service)+".>"))
	}
	b.WriteString("  ]\n  imports: [\n")
	for i, g := range all {
		fmt.Fprintf(b, "    {service: {account: %s, subject: %s}, to: %s}\n", tiebackAccount, strconv.Quote(g.subject), subjects[i])
	}
	b.WriteString("  ]\n}\n")
}

func compareGrants(a, b grant) int { return strings.Compare(a.subject, b.subject) }
