# make run     the whole pipeline with an embedded broker, sandbox and ERP, all event types; KEEP=1 keeps serving;
#              ERP=tryton uses Tryton, ERP=remote a connector over gRPC (at ADDRESS, or one that it starts)
# make test    every test that can run on this machine, with the race detector
# make test-tryton   the tests that need Tryton, in a container unless it is installed
# make test-docker   the tests that need Docker; part of make test if Docker is installed
# make bench   CPU, events per second and latency, beside a pipeline written by hand on nats.go; FULL=1 takes half an hour
# make chaos   real processes under faults (kills, pauses, partitions) for SEEDS seeds; see deploy/test/chaos
# make rolling   replaces each service and broker node under load; OLD=REF upgrades from that version and back, and restores backups across both
# make cluster   installs Tieback in the Kubernetes cluster of KUBECONFIG, deletes pods under load, and checks that nothing is
#              lost or doubled; LOAD=COMMAND loads the images into it, FULL=1 does more, see deploy/kubernetes/try
# make flood   measures ingest with 256 MB of memory under 5,000 hostile connections; set CONNECTIONS, RATE and FOR
# make check   format, vet, lint, generated files, links and commands in the documentation
# make fuzz    each fuzz target for FUZZTIME (30000x: number of inputs; 10m: time)
# make release   everything that is published for VERSION, in dist/VERSION; see CONTRIBUTING.md. release-check builds it twice and compares
# make images   every container image with Docker, for VERSION and PLATFORM, with its size and user
# make vulncheck   known vulnerabilities of all modules
# make pin     updates the digests of third-party images from their registries
# make generate   code of proto/, docs/api.md, table of docs/event-types.md, Kubernetes manifests of the Helm chart

# All but deploy/test/compose, which needs Docker.
PACKAGES := ./proto/... ./pkg/... ./services/... $(filter-out ./deploy/test/compose/...,$(patsubst %/,./%/...,$(wildcard deploy/test/*/)))
FUZZTIME ?= 30000x
BASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null)

# Pinned tools, built once into bin.
TOOLS := bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/protoc-gen-connect-go bin/staticcheck bin/govulncheck
bin/buf: PKG := github.com/bufbuild/buf/cmd/buf@v1.75.0
bin/protoc-gen-go: PKG := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
bin/protoc-gen-go-grpc: PKG := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
bin/protoc-gen-connect-go: PKG := connectrpc.com/connect/cmd/protoc-gen-connect-go@v1.21.1
bin/staticcheck: PKG := honnef.co/go/tools/cmd/staticcheck@v0.8.2
bin/govulncheck: PKG := golang.org/x/vuln/cmd/govulncheck@v1.9.0
export CGO_ENABLED ?= 1

.PHONY: release release-check chaos cluster flood rolling run test test-docker test-tryton bench check fuzz generate generated images pin vulncheck

# The program bin/demo has only what this needs, and compiles in four fifths of the CPU time of bin/tieback.
run:
ifeq ($(KEEP)$(ERP)$(ADDRESS),)
	@deploy/build bin/demo ./services/tieback/demo/cmd/demo
	@bin/demo $(if $(SEED),--seed $(SEED))
else
	@deploy/build bin/tieback ./services/tieback
	@bin/tieback demo $(if $(ERP),--erp $(ERP)) $(if $(ADDRESS),--address $(ADDRESS)) $(if $(KEEP),--keep) $(if $(SEED),--seed $(SEED))
endif

# Parallel tests mostly wait, so four run on any machine.
test:
	go test -race -parallel 4 -timeout 30m $(PACKAGES)
	cd deploy/release && GOWORK=off go test .
	go test -timeout 10m ./deploy/test/e2e -run 'TestBrokerKeysRotateUnderLoad|TestSecretsRotateWithoutRestart' # see rotate_keys_test.go
	@if command -v trytond >/dev/null; then :; elif docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-tryton; else \
	echo 'LEFT OUT: the tests that need Tryton; services/connectors/tryton/README.md names the packages.'; fi
	@if [ "$(CI)" = true ] || docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-docker; else \
	echo 'LEFT OUT: the tests that need Docker (make test-docker). All others ran.'; fi

# Verbose, because a test without its image is skipped with a message.
test-docker:
	go test -race -count=1 -timeout 30m -v ./deploy/test/compose

# The container runs the same tests; its volume keeps the company that they set up for the next run.
test-tryton:
	docker build -q -t tieback-tryton services/connectors/tryton
	go test -c -race -o bin/tryton.test ./services/connectors/tryton
	docker run --rm -e CI=true -v "$(CURDIR)/bin:/bin-host:ro" -v tieback-tryton:/root/.cache -w /tmp tieback-tryton /bin-host/tryton.test

# SEEDS=50 is the run of docs/evidence.md, FOR=1h runs for an hour, SEED=7 repeats one seed.
chaos:
	go run ./deploy/test/chaos $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FOR),--for $(FOR))

# OLD=auto is the newest release, or 20 commits ago.
rolling:
	go run ./deploy/test/chaos --rolling $(if $(SEED),--seed $(SEED)) $(if $(OLD),--old $(OLD))

cluster:
	@LOAD="$(LOAD)" FULL="$(FULL)" OLD="$(OLD)" KEEP="$(KEEP)" VERSION="$(VERSION)" deploy/kubernetes/try

flood:
	@CONNECTIONS="$(CONNECTIONS)" RATE="$(RATE)" FOR="$(FOR)" services/ingest/flood/run

bench:
	go build -o bin/ ./services/tieback ./services/ingest/cmd/ingest ./services/fetcher/cmd/fetcher ./services/worker/cmd/export ./services/status-reporter/cmd/status-reporter
	bin/tieback bench $(if $(FULL),--full)

# The compiler is that of the images. TARGETS, ONLY: some systems or binaries; DIRTY=1: uncommitted changes; KEY: signs the provenance.
release release-check: export GOTOOLCHAIN = go$(shell sed -n 's/^ARG GO_IMAGE=golang:\([0-9.]*\).*/\1/p' deploy/docker/Dockerfile)
release release-check: bin/helm
	@cd deploy/release && GOWORK=off GOFLAGS= go run . --version "$(VERSION)" $(if $(TARGETS),--targets "$(TARGETS)") $(if $(ONLY),--only "$(ONLY)") \
	$(if $(KEY),--key "$(abspath $(KEY))") $(if $(DIRTY),--dirty) $(if $(filter release-check,$@),--check)

images:
	@VERSION="$(VERSION)" PLATFORM="$(PLATFORM)" deploy/docker/images

# pin updates the digests of third-party images.
pin: bin/crane
	deploy/docker/pin

# vulncheck looks up known vulnerabilities; GOVULNDB replaces the database https://vuln.go.dev.
vulncheck: bin/govulncheck
	@.ci/vulncheck . deploy/release

check: generated bin/staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	@go test -count=1 ./services/tieback ./pkg/settings ./pkg/company -run 'TestLinks|TestReadme|TestVariables|TestCommands|TestComposeServices|TestConfigurationPage'
	go vet ./...
	@for m in . deploy/release; do (cd $$m && GOWORK=off go build -o /dev/null ./... && GOWORK=off go mod tidy -diff && GOWORK=off "$(CURDIR)/bin/staticcheck" ./...) || exit 1; done

# generated fails if the committed code or docs differ from what would be generated.
generated: bin/buf
	cd proto && ../bin/buf lint
	@if git rev-parse -q --verify $(BASE) >/dev/null; then cd proto && ../bin/buf breaking --against '../.git#ref=$(BASE),subdir=proto'; fi
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code --stat -- proto docs deploy/kubernetes deploy/helm || { echo 'run make generate and commit the result'; exit 1; }

generate: bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/protoc-gen-connect-go bin/helm
	cd proto && PATH="$(CURDIR)/bin:$$PATH" ../bin/buf generate && PATH="$(CURDIR)/bin:$$PATH" ../bin/buf generate --template buf.gen.operator.yaml
	@go run ./services/tieback catalogue --into docs/event-types.md
	@go test ./deploy/test/kubernetes -run 'TestPrometheusRule|TestRendered' -update

# Tools of the release's module, which has their versions and checksums.
bin/helm bin/crane: deploy/release/go.mod
	cd deploy/release && CGO_ENABLED=0 GOWORK=off GOFLAGS= go build -trimpath -o "$(CURDIR)/$@" $(filter %/cmd/$(@F),helm.sh/helm/v4/cmd/helm github.com/google/go-containerregistry/cmd/crane)

$(TOOLS):
	CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$(CURDIR)/bin" GOWORK=off go install $(PKG)

# Targets by package. The default is a number of inputs, because a run that ends by time may fail with "context deadline
# exceeded" without a finding. The minimization of interesting inputs is limited.
FUZZ = go test -run '^$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x
fuzz:
	$(FUZZ) -fuzz FuzzParse ./pkg/procore/delivery
	$(FUZZ) -fuzz FuzzRead ./services/fetcher
	$(FUZZ) -fuzz FuzzDecode ./pkg/payload
	$(FUZZ) -fuzz FuzzDecimal ./pkg/payload
	$(FUZZ) -fuzz FuzzEdit ./services/tieback/dead
	$(FUZZ) -fuzz FuzzSubject ./pkg/bus
	$(FUZZ) -fuzz FuzzEnvelope ./pkg/bus
	$(FUZZ) -fuzz FuzzParse ./pkg/company
	$(FUZZ) -fuzz FuzzAnswers ./pkg/connector
	$(FUZZ) -fuzz FuzzHeaders ./pkg/procore
	$(FUZZ) -fuzz FuzzStored ./pkg/procore
	$(FUZZ) -fuzz FuzzSearch ./services/console/index
