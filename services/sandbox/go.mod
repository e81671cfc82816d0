module github.com/tieback/tieback/services/sandbox

go 1.26.0

require (
	github.com/tieback/tieback/pkg v0.0.0
	github.com/tieback/tieback/proto v0.0.0
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.6
)

require (
	github.com/shopspring/decimal v1.6.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
	google.golang.org/grpc v1.85.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/tieback/tieback/pkg => ../../pkg
	github.com/tieback/tieback/proto => ../../proto
)
