package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Company is a Procore company. Several companies may have the same client.
type Company struct {
	ID                     int64  `yaml:"id"`
	Name                   string `yaml:"name"`
	ClientID               string `yaml:"client_id"`
	ClientSecret           string `yaml:"client_secret"`
	WebhookURL             string `yaml:"webhook_url"`   // "": no hook and no ERP connection; create them over the API
	WebhookToken           string `yaml:"webhook_token"` // sent as "Authorization: Bearer …"
	StandardCostCodeListID int64  `yaml:"standard_cost_code_list_id"`
	APIVersion             string `yaml:"api_version"` // of its hook; "": Config.APIVersion
}

func (c Company) validate() error {
	var errs []error
	if c.ID <= 0 {
		errs = append(errs, errors.New("id: it must be a positive integer"))
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		errs = append(errs, errors.New("client_id, client_secret: both are required"))
	}
	if !slices.Contains([]string{"", "v2.0", "v3.0", "v4.0", Rotate}, c.APIVersion) {
		errs = append(errs, fmt.Errorf("api_version: %q is not one of v2.0, v3.0, v4.0, %s", c.APIVersion, Rotate))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("company %d: %w", c.ID, err)
	}
	return nil
}

// company is a Company and its records. The mutex guards the fields below it and is not held during I/O.
type company struct {
	Company
	client *client
	limits *limits // the client's, or its own with Config.LimitsPerCompany

	mu          sync.Mutex
	records     map[string]map[int64]*record // by item type
	origins     map[string]map[string]int64  // by item type and origin id
	assignments map[assignmentKey]*assignment
	assigned    map[int64]assignmentKey // by assignment id
	staged      map[stagedKey]*staged
	details     map[int64]*detail
	detailOrder []*detail
	connection  *connection // nil: none yet
	forbidden   []Tool
	permitted   map[int64]bool // projects; nil: all
}

func newCompany(c Company) *company {
	return &company{
		Company:     c,
		records:     map[string]map[int64]*record{},
		origins:     map[string]map[string]int64{},
		assignments: map[assignmentKey]*assignment{},
		assigned:    map[int64]assignmentKey{},
		staged:      map[stagedKey]*staged{},
		details:     map[int64]*detail{},
	}
}
