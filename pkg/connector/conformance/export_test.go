package conformance

// NewBooks returns the in-memory ERP of the tests, for the example.
func NewBooks() Target { return newERP(flaw{}).target() }
