package sandbox

import "net/http"

// connection is a company's ERP connection.
type connection struct {
	ID         int64          `json:"id"`
	ServiceURL string         `json:"service_url"`
	CodeListID int64          `json:"standard_cost_code_list_id"`
	Metadata   map[string]any `json:"metadata"`
}

// createConnection creates the ERP connection of a company, which can have only one. The answer has the list of the
// standard cost codes that the ERP may sync.
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
	if bad := checkMetadata(body.Connection.Metadata); bad != nil {
		return *bad
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	if c.co.connection != nil {
		return invalid("connection", "company %d has a connection already", c.co.ID)
	}
	c.co.connection = &connection{
		ID: c.sb.newID(), ServiceURL: body.Connection.ServiceURL, CodeListID: c.co.StandardCostCodeListID, Metadata: body.Connection.Metadata,
	}
	return answer{status: http.StatusCreated, body: map[string]any{"id": c.co.connection.ID, "standard_cost_code_list_id": c.co.connection.CodeListID}}
}

// listConnections is inferred: Procore documents only the creation.
func listConnections(c *call) answer {
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	out := []connection{}
	if c.co.connection != nil {
		out = append(out, *c.co.connection)
	}
	return ok(out)
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
	if bad := checkMetadata(body.Metadata); bad != nil {
		return *bad
	}
	c.co.mu.Lock()
	defer c.co.mu.Unlock()
	if c.co.connection == nil {
		return refuse(http.StatusNotFound, "company %d has no ERP connection: create it first", c.co.ID)
	}
	c.co.connection.Metadata = body.Metadata
	return ok(map[string]any{"metadata": body.Metadata})
}

// Metadata returns the last metadata of a company's ERP connection, or nil.
func (sb *Sandbox) Metadata(companyID int64) map[string]any {
	co, err := sb.company(companyID)
	if err != nil {
		return nil
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	if co.connection == nil {
		return nil
	}
	return co.connection.Metadata
}
