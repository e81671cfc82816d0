package setup

// DepsOf and Patience are visible to the tests of the command.
var (
	DepsOf   = depsOf
	Patience = &patience
)
