package sandbox

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// erpEntities are the documented entities of metadata settings.
var erpEntities = set("standard_cost_codes", "standard_categories", "vendors", "jobs", "sub_jobs", "budgets", "job_costs",
	"job_cost_transactions", "commitments", "commitment_items", "commitment_change_orders", "commitment_change_order_items",
	"company_level_direct_costs", "requisitions", "contract_payments", "payment_applications", "prime_contracts",
	"prime_contract_change_orders")

// validations are the documented validations of a rule. The value reports whether it needs a length.
var validations = map[string]bool{
	"present": false, "numeric": false, "positive": false, "format": false, "disallow_division": false,
	"max_length": true, "max_line_length": true, "max_length_decimal": true, "max_length_units": true,
}

// checkMetadata returns an answer with the first error in metadata, or nil. Metadata is
// {"settings": {labels, configurations, entities: {<entity>: {enabled, configs, tab, rules}}}}.
func checkMetadata(metadata map[string]any) *answer {
	m := &metadataChecker{}
	m.only("metadata", metadata, "settings")
	settings := asObject(metadata["settings"])
	m.only("metadata.settings", settings, "labels", "configurations", "entities")
	for name, v := range sorted(asObject(settings["labels"])) {
		if _, isText := v.(string); !isText || !slices.Contains([]string{"name", "id_name", "short_name"}, name) {
			m.bad("metadata.settings.labels."+name, "must be one of name, id_name, short_name, with a string")
		}
	}
	for name, v := range sorted(asObject(settings["entities"])) {
		m.entity("metadata.settings.entities."+name, name, v)
	}
	return m.first
}

type metadataChecker struct{ first *answer }

func (m *metadataChecker) bad(field, format string, args ...any) {
	if m.first == nil {
		m.first = new(invalid(field, format, args...))
	}
}

// only refuses unknown fields.
func (m *metadataChecker) only(at string, v any, fields ...string) {
	o, isObject := v.(map[string]any)
	if !isObject && v != nil {
		m.bad(at, "must be an object")
	}
	for name := range sorted(o) {
		if !slices.Contains(fields, name) {
			m.bad(at+"."+name, "is not one of %s", strings.Join(fields, ", "))
		}
	}
}

func (m *metadataChecker) flag(at string, v any) {
	if _, isBool := v.(bool); !isBool && v != nil {
		m.bad(at+".enabled", "must be true or false")
	}
}

func (m *metadataChecker) entity(at, name string, v any) {
	if !erpEntities[name] {
		m.bad(at, "%q is not an entity of the ERP integration", name)
	}
	m.only(at, v, "enabled", "configs", "tab", "rules")
	e := asObject(v)
	m.flag(at, e["enabled"])
	for config, v := range sorted(asObject(e["configs"])) {
		c, isObject := v.(map[string]any)
		if !isObject {
			m.bad(at+".configs."+config, "must be an object")
		}
		m.flag(at+".configs."+config, c["enabled"])
	}
	m.only(at+".tab", e["tab"], "enabled", "columns")
	m.flag(at+".tab", asObject(e["tab"])["enabled"])
	m.only(at+".rules", e["rules"], "export", "save")
	for action, v := range sorted(asObject(e["rules"])) {
		m.only(at+".rules."+action, v, "fields", "warning_message")
		for field, v := range sorted(asObject(asObject(v)["fields"])) {
			m.rules(at+".rules."+action+".fields."+field, v)
		}
	}
}

func (m *metadataChecker) rules(at string, v any) {
	m.only(at, v, "enabled", "validation")
	m.flag(at, asObject(v)["enabled"])
	for rule, v := range sorted(asObject(asObject(v)["validation"])) {
		needsLength, known := validations[rule]
		if !known {
			m.bad(at+".validation."+rule, "is not a validation")
		}
		m.only(at+".validation."+rule, v, "enabled", "message", "length")
		r := asObject(v)
		m.flag(at+".validation."+rule, r["enabled"])
		if length, _ := r["length"].(json.Number); needsLength != positive(length) {
			m.bad(at+".validation."+rule+".length", "must be a positive number for a validation of a length, and absent for others")
		}
	}
}

func positive(n json.Number) bool {
	i, err := n.Int64()
	return err == nil && i > 0
}

// sorted ranges over an object in the order of its names, so that the first error is always the same.
func sorted(o map[string]any) func(func(string, any) bool) {
	return func(yield func(string, any) bool) {
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if !yield(name, o[name]) {
				return
			}
		}
	}
}

func asObject(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}
