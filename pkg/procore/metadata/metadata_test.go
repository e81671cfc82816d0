package metadata_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// erp lists vendors and jobs, takes vendors and commitments, and tells the state of commitments.
var erp = &tiebackv1.CapabilitiesResponse{Name: "Books", Entities: []*tiebackv1.EntityCapability{
	{Entity: tiebackv1.Entity_ENTITY_VENDOR, Put: true, List: true, Update: true},
	{Entity: tiebackv1.Entity_ENTITY_JOB, List: true},
	{Entity: tiebackv1.Entity_ENTITY_COMMITMENT, Put: true, State: true},
	{Entity: tiebackv1.Entity_ENTITY_PAYMENT, List: true},
}}

func of(t *testing.T, overlay string) (map[string]any, error) {
	t.Helper()
	path := ""
	if overlay != "" {
		path = filepath.Join(t.TempDir(), "overlay.yaml")
		if err := os.WriteFile(path, []byte(overlay), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return metadata.Of(erp, path)
}

// at walks a document by a path of names; nil: there is nothing.
func at(doc any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		o, _ := doc.(map[string]any)
		doc = o[name]
	}
	return doc
}

func TestWhatTheConnectorDeclares(t *testing.T) {
	doc, err := of(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"labels.name":                                              "Books",
		"labels.id_name":                                           "Books ID",
		"entities.vendors.enabled":                                 true,
		"entities.vendors.configs.export.enabled":                  true,
		"entities.vendors.configs.export.update.enabled":           true,
		"entities.vendors.configs.import.enabled":                  true,
		"entities.vendors.configs.staged_records.enabled":          true,
		"entities.vendors.tab.columns.code.text":                   "Books ID",
		"entities.vendors.rules.export.fields.code.enabled":        true,
		"entities.jobs.configs.export.enabled":                     false, // it takes none
		"entities.jobs.configs.staged_records.enabled":             true,
		"entities.jobs.rules":                                      nil,  // nothing is exported
		"entities.commitments.configs.export_subcontracts.enabled": true, // else the user can export no subcontract
		"entities.commitments.configs.unlink.enabled":              true,
		"entities.commitments.configs.import.enabled":              false,
		"entities.commitments.configs.staged_records.enabled":      false,
		"entities.requisitions.enabled":                            false,
		"entities.requisitions.configs.sync_payments.enabled":      true,
		"entities.prime_contracts.enabled":                         false,
	} {
		if got := at(doc["settings"], path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if n := len(at(doc, "settings.entities").(map[string]any)); n != 18 {
		t.Errorf("%d entities", n)
	}
}

func TestAnOverlay(t *testing.T) {
	for name, overlay := range map[string]string{
		"its fields": "labels: {name: Sage}\nentities: {vendors: {tab: null, configs: {export: {enabled: false}}, rules: {save: {fields: {city: {validation: {max_length: {enabled: true, length: 15}}}}}}}}",
		"all of it":  `{"settings": {"labels": {"name": "Sage"}, "entities": {"vendors": {"tab": null, "configs": {"export": {"enabled": false}}, "rules": {"save": {"fields": {"city": {"validation": {"max_length": {"enabled": true, "length": 15}}}}}}}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := of(t, overlay)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]any{
				"labels.name": "Sage", "labels.short_name": "Books", // which it left alone
				"entities.vendors.tab":                                                 nil,
				"entities.vendors.configs.export.enabled":                              false,
				"entities.vendors.configs.export.create.enabled":                       true,
				"entities.vendors.rules.export.fields.code.enabled":                    true,
				"entities.vendors.rules.save.fields.city.validation.max_length.length": 15,
			} {
				if got := at(doc["settings"], path); got != want {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
			if _, err := json.Marshal(doc); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnOverlayIsCheckedStrictly(t *testing.T) {
	for overlay, says := range map[string]string{
		"entities: {spaceships: {}}":                 "entities.spaceships: is not an entity",
		"entities: {vendors: {enabld: true}}":        "entities.vendors.enabld: is unknown; the known fields are configs, enabled, rules, tab",
		"entities: {vendors: {enabled: yes please}}": "entities.vendors.enabled: must be true or false",
		"entities: {vendors: {rules: {print: {}}}}":  "entities.vendors.rules.print: is unknown; the known fields are export, save",
		"entities: {vendors: {rules: {save: {fields: {city: {validation: {max_lenght: {length: 5}}}}}}}}":  "entities.vendors.rules.save.fields.city.validation.max_lenght: is not a rule; the rules are",
		"entities: {vendors: {rules: {save: {fields: {city: {validation: {max_length: {}}}}}}}}":           "max_length.length: is missing",
		"entities: {vendors: {rules: {save: {fields: {city: {validation: {max_length: {length: -1}}}}}}}}": "max_length.length: must be a positive whole number",
		"entities: {vendors: {rules: {save: {fields: {city: {validation: {present: {length: 5}}}}}}}}":     "present.length: is unknown; the known fields are",
		"entities: {vendors: {configs: {export: {custom_fields: [{kee: x}]}}}}":                            "entities.vendors.configs.export.custom_fields[0].kee: is unknown; the known fields are",
		"entities: {vendors: {configs: {export: 5}}}":                                                      "entities.vendors.configs.export: must be an object",
		"entities: {vendors: {tab: {columns: {code: {txt: x}}}}}":                                          "entities.vendors.tab.columns.code.txt: is unknown; the known fields are",
		"labels: {nickname: x}":      "labels.nickname: is unknown; the known fields are id_name, name, short_name",
		"entities: 5":                "entities: must be an object",
		"configurations: {speed: 5}": "configurations.speed: is unknown; the known fields are",
		"settings: {}\nlabels: {}":   "settings: must be an object, and the only field",
		"[1, 2]":                     "metadata_file",
	} {
		if _, err := of(t, overlay); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "overlay.yaml") {
			t.Errorf("%s\ngot  %v\nwant %s", overlay, err, says)
		}
	}
	if _, err := metadata.Of(erp, "/nowhere"); err == nil || !strings.Contains(err.Error(), "metadata_file") {
		t.Errorf("a file that is not there: %v", err)
	}
}
