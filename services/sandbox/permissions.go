package sandbox

import (
	"net/http"
	"strings"
)

// Tool is a part of Procore that a client may be kept out of.
type Tool string

// The tools, by what their paths hold.
const (
	ERPIntegrations Tool = "/erp_"
	Webhooks        Tool = "/webhooks/"
)

// Forbid keeps a company's client out of these tools and no others, as an administrator would by the
// permissions template: its calls are answered 403.
func (sb *Sandbox) Forbid(companyID int64, tools ...Tool) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	co.forbidden = tools
	return nil
}

func (co *company) mayUse(path string) bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	for _, tool := range co.forbidden {
		if strings.Contains(path, string(tool)) {
			return false
		}
	}
	return true
}

// permitOver is POST /sandbox/companies/{id}/permissions.
func (sb *Sandbox) permitOver(w http.ResponseWriter, r *http.Request) {
	body := struct {
		ERP      bool    `json:"erp_integrations"`
		Webhooks bool    `json:"webhooks"`
		Projects []int64 `json:"projects"`
	}{ERP: true, Webhooks: true}
	id, ok := sb.asked(w, r, &body)
	if !ok {
		return
	}
	var tools []Tool
	if !body.ERP {
		tools = append(tools, ERPIntegrations)
	}
	if !body.Webhooks {
		tools = append(tools, Webhooks)
	}
	err := sb.Forbid(id, tools...)
	if err == nil && body.Projects != nil {
		err = sb.Permit(id, body.Projects...)
	}
	if err != nil {
		refuse(http.StatusNotFound, "%v", err).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
