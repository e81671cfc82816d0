module github.com/tieback/tieback/services/console

go 1.26.0

replace (
	github.com/tieback/tieback/pkg => ../../pkg
	github.com/tieback/tieback/pkg/bus/bustest => ../../pkg/bus/bustest
	github.com/tieback/tieback/proto => ../../proto
	github.com/tieback/tieback/services => ..
	github.com/tieback/tieback/services/sandbox => ../sandbox
)
