// Package metadata makes the ERP metadata that Procore's ERP tool works by: which entities can be
// exported, imported, unlinked and staged, how things are called, and what Procore checks before an export.
//
// It is generated from what the connector declares, and a company's metadata_file is laid over it:
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

// Of is the whole document, {"settings": {labels, configurations, entities}}: generated from the connector's
// capabilities, with the overlay file laid over it; "" is none. An error names the file and the field.
func Of(caps *tiebackv1.CapabilitiesResponse, overlayFile string) (map[string]any, error) {
	over, err := load(overlayFile)
	if err != nil {
		return nil, err
	}
	settings := generate(caps)
	lay(settings, over)
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
