package sandbox

import (
	"net/http"
)

// erpEntities are the entities that metadata settings may name.
var erpEntities = set("standard_cost_codes", "standard_categories", "vendors", "jobs", "sub_jobs", "budgets", "job_costs",
	"job_cost_transactions", "commitments", "commitment_change_orders", "company_level_direct_costs", "requisitions",
	"payment_applications", "prime_contracts", "prime_contract_change_orders")

// createConnection answers the list to sync standard cost codes into.
func createConnection(c *call) answer {
	var body struct {
		Connection *struct {
			ServiceURL string         `json:"service_url"`
			Metadata   map[string]any `json:"metadata"`
		} `json:"connection"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if body.Connection == nil {
		return invalid("connection", "is missing: send {\"connection\": {\"service_url\": …, \"metadata\": {…}}}")
	}
	if bad := badMetadata(body.Connection.Metadata); bad != nil {
		return *bad
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	if c.co.connection == 0 {
		c.co.connection = c.sb.mint()
	}
	c.co.metadata = body.Connection.Metadata
	return answer{status: http.StatusCreated, body: map[string]any{"id": c.co.connection, "standard_cost_code_list_id": c.co.StandardCostCodeListID}}
}

func updateMetadata(c *call) answer {
	var body struct {
		Metadata map[string]any `json:"metadata"`
	}
	if err := c.decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	if _, isObject := body.Metadata["settings"].(map[string]any); !isObject {
		return invalid("metadata", "needs settings: {\"metadata\": {\"settings\": {\"labels\", \"configurations\", \"entities\"}}}")
	}
	if bad := badMetadata(body.Metadata); bad != nil {
		return *bad
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	c.co.metadata = body.Metadata
	return ok(map[string]any{"metadata": body.Metadata})
}

func badMetadata(metadata map[string]any) *answer {
	for name := range asObject(Get(metadata, "settings.entities")) {
		if !erpEntities[name] {
			return new(invalid("metadata.settings.entities", "%q is no entity of the ERP integration", name))
		}
	}
	return nil
}

func asObject(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// Metadata is a company's ERP metadata as last written, nil if never.
func (sb *Sandbox) Metadata(companyID int64) map[string]any {
	co, err := sb.company(companyID)
	if err != nil {
		return nil
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	return asObject(co.metadata)
}
