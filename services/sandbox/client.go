package sandbox

import (
	"fmt"
	"net/http"
	"strconv"
)

// client is an API client: a service account of one company, or a Developer Managed Service Account of all companies
// that have the app installed. Sandbox.mu guards it except its limits.
type client struct {
	id        string
	secret    string
	companies map[int64]*company
	limits    *limits
}

// addClient gives a company its client, which it shares with companies with the same client id. The caller holds sb.mu.
func (sb *Sandbox) addClient(co *company) error {
	cl := sb.clients[co.ClientID]
	switch {
	case cl == nil:
		cl = &client{id: co.ClientID, secret: co.ClientSecret, companies: map[int64]*company{}, limits: newLimits(sb.cfg)}
		sb.clients[cl.id] = cl
	case cl.secret != co.ClientSecret:
		return fmt.Errorf("company %d: client_id %q is already used with another client_secret", co.ID, cl.id)
	}
	cl.companies[co.ID], co.client, co.limits = co, cl, cl.limits
	if sb.cfg.LimitsPerCompany {
		co.limits = newLimits(sb.cfg)
	}
	return nil
}

// from returns the company in the header of a call, or refuses the call.
func (c *call) from(cl *client) (*company, *answer) {
	raw := c.r.Header.Get(companyHeader)
	if raw == "" {
		return nil, new(refuse(http.StatusBadRequest, "The %s header is missing: send it with every call", companyHeader))
	}
	id, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		return nil, new(refuse(http.StatusBadRequest, "The %s header is %q: it must be the id of a company", companyHeader, raw))
	}
	c.sb.mu.RLock()
	co := cl.companies[id]
	c.sb.mu.RUnlock()
	if co == nil {
		return nil, new(refuse(http.StatusForbidden, "You do not have access to company %d: this client belongs to another company", id))
	}
	return co, nil
}

// Permit sets the permitted projects of a company. Other projects are not visible to its client.
func (sb *Sandbox) Permit(companyID int64, projects ...int64) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	co.permitted = map[int64]bool{}
	for _, id := range projects {
		co.permitted[id] = true
	}
	return nil
}

// visible reports whether a project is visible. The caller holds co.mu.
func (co *company) visible(project int64) bool { return co.permitted == nil || co.permitted[project] }

// RotateSecret sets the secret of a company's client. The old secret and the client's access tokens become invalid.
func (sb *Sandbox) RotateSecret(companyID int64, secret string) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	co.client.secret = secret
	sb.mu.Unlock()
	sb.tokens.expire(co.client)
	return nil
}
