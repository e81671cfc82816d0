package sandbox

import (
	"fmt"
	"net/http"
	"strconv"
)

// client is an API client: of one company's service account, or a Developer Managed Service Account of all
// companies that have the app installed. Sandbox.mu guards it, but for its limits.
type client struct {
	id        string
	secret    string
	companies map[int64]*company
	limits    *limits
}

// join gives a company its client: a new one, or that of companies which named the same. The caller holds sb.mu.
func (sb *Sandbox) join(co *company) error {
	cl := sb.clients[co.ClientID]
	switch {
	case cl == nil:
		cl = &client{id: co.ClientID, secret: co.ClientSecret, companies: map[int64]*company{}, limits: newLimits(sb.cfg)}
		sb.clients[cl.id] = cl
	case cl.secret != co.ClientSecret:
		return fmt.Errorf("company %d: client_id %q has another client_secret: companies of one client have the same", co.ID, cl.id)
	}
	cl.companies[co.ID], co.client, co.limits = co, cl, cl.limits
	if sb.cfg.LimitsPerCompany {
		co.limits = newLimits(sb.cfg)
	}
	return nil
}

// from finds the company that a call of a client is for, or refuses it.
func (c *call) from(cl *client) (*company, *answer) {
	raw := c.r.Header.Get(companyHeader)
	if raw == "" {
		return nil, new(refuse(http.StatusBadRequest, "The %s header is missing: send it with every call", companyHeader))
	}
	id, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		return nil, new(refuse(http.StatusBadRequest, "The %s header is %q: it must be a company's id", companyHeader, raw))
	}
	c.sb.mu.RLock()
	co := cl.companies[id]
	c.sb.mu.RUnlock()
	if co == nil {
		return nil, new(refuse(http.StatusForbidden, "You do not have access to company %d: this client belongs to another company", id))
	}
	return co, nil
}

// Permit has an administrator of a company choose the permitted projects: no other is visible to its client.
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

// sees says whether a project is visible. The caller holds co.mu.
func (co *company) sees(project int64) bool { return co.permitted == nil || co.permitted[project] }
