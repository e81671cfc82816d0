// Package metadata makes the configuration of Procore's ERP tool: which entities can be exported, imported, unlinked and
// staged, their labels, and what Procore checks before an export.
//
// It is generated from the capabilities of the connector. A company's metadata_file overrides parts of it:
//
//	connector's capabilities ──▶ generated ──▶ overlaid, checked ──▶ POST …/erp_connections    (tieback setup)
//	                                ▲                           └──▶ PATCH …/erp_connections/metadata (sync_metadata)
//	                          metadata_file
//
// Source: developers.procore.com, ERP Integration Metadata Developer Guide.
package metadata

import (
	"cmp"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// object is a JSON object.
type object = map[string]any

// Of returns the complete document, {"settings": {labels, configurations, entities}}: generated from the
// connector's capabilities and overlaid with the overlay file, if there is one. An error names the file and
// the field.
func Of(caps *tiebackv1.CapabilitiesResponse, overlayFile string) (map[string]any, error) {
	over, err := load(overlayFile)
	if err != nil {
		return nil, err
	}
	settings := generate(caps)
	overlay(settings, over)
	if err := check(settings); err != nil {
		return nil, about(overlayFile, err)
	}
	return object{"settings": settings}, nil
}

func generate(caps *tiebackv1.CapabilitiesResponse) object {
	can := map[tiebackv1.Entity]*tiebackv1.EntityCapability{}
	for _, c := range caps.GetEntities() {
		can[c.Entity] = c
	}
	name := cmp.Or(caps.GetName(), "ERP")
	all := object{}
	for _, e := range entities {
		all[e.name] = e.settings(can, name)
	}
	return object{
		"labels":         object{"name": name, "id_name": name + " ID", "short_name": name},
		"configurations": object{},
		"entities":       all,
	}
}

func enabled(yes bool) object { return object{"enabled": yes} }
