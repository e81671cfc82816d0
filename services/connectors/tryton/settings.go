package tryton

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/connector"
)

// config has the settings of a company's connector section.
type config struct {
	url, database, user, password, company string
	confirm                                bool
}

var known = []string{"company", "confirm", "database", "password", "url", "user"}

// Open opens a company's books in a Tryton. It is a connector.Opener. It sends nothing before the first call.
//
//	url       http://host:8000
//	database  the database
//	user      a Tryton user with access to accounting, purchases and sales
//	password  the user's password
//	company   the company's name in Tryton; "": the only one
//	confirm   true: purchases and sales are confirmed, not only quoted; then a reset can't cancel them
func Open(_ context.Context, companyID int64, settings map[string]string) (connector.Driver, error) {
	c, err := read(settings)
	if err != nil {
		return nil, err
	}
	return named{&Books{rpc: newClient(c), config: c, id: companyID, mu: &sync.Mutex{}}}, nil
}

func read(s map[string]string) (config, error) {
	for name := range s {
		if !slices.Contains(known, name) && name != "driver" {
			return config{}, fmt.Errorf("connector.%s: the tryton driver has no such setting; its settings are %s", name, strings.Join(known, ", "))
		}
	}
	for _, name := range []string{"url", "database", "user", "password"} {
		if s[name] == "" {
			return config{}, fmt.Errorf("connector.%s: is missing: the tryton driver needs it", name)
		}
	}
	u, err := url.Parse(s["url"])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return config{}, fmt.Errorf("connector.url: must be a URL such as http://host:8000, without user and password")
	}
	if c := s["confirm"]; c != "" && c != "true" && c != "false" {
		return config{}, fmt.Errorf("connector.confirm: must be true or false")
	}
	return config{
		url: strings.TrimSuffix(s["url"], "/") + "/", database: s["database"], user: s["user"],
		password: s["password"], company: s["company"], confirm: s["confirm"] == "true",
	}, nil
}

// timeout is the time for a complete response of Tryton.
const timeout = 5 * time.Minute

func newClient(c config) *client {
	return &client{config: c, http: &http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true, // trytond closes the connection after each response; a reused connection would lose writes
		Proxy:             http.ProxyFromEnvironment,
	}}}
}
