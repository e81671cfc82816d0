package sandbox

import "strings"

// Tool is a part of Procore for which a client may lack permission.
type Tool string

// The tools. The value is a part of their paths.
const (
	ERPIntegrations Tool = "/erp_"
	Webhooks        Tool = "/webhooks/"
)

// Forbid sets the tools for which a company's client has no permission. Its calls to them are answered 403.
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
