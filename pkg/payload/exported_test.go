package payload

import (
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
)

// An export type without a reader is not compared with the ERP's books in the demo and in chaos.
func TestEachExportHasAReader(t *testing.T) {
	types := catalogue.Of(catalogue.Export)
	for _, e := range types {
		if exportReaders[e.Name] == nil {
			t.Errorf("%s has no reader", e.Name)
		}
	}
	if len(exportReaders) != len(types) {
		t.Errorf("%d readers for %d export types", len(exportReaders), len(types))
	}
}
