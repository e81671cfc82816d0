# make run     the whole pipeline on embedded parts, all event types; KEEP=1 goes on serving;
#              ERP=tryton a real ERP, ERP=remote a connector over gRPC (at ADDRESS, or one of its own)
# make test    every test that can run on this machine, with the race detector
# make test-tryton   those that need Tryton, in a container where it is not installed; likewise
# make test-docker   those that need Docker; a part of make test where Docker is
# make bench   events per second, CPU, latency, beside a bare JetStream publish
# make chaos   real processes, killed, paused and cut off by SEEDS seeds; see deploy/test/chaos
# make rolling   each service and broker node replaced under load; OLD=REF from that version and back
# make flood   ingest under 5,000 hostile connections, with 256 MB of memory; CONNECTIONS, RATE and FOR change the numbers
# make check   format, vet, lint, generated files, links and commands of the pages
# make fuzz    each fuzz target for FUZZTIME (30000x: so many inputs; 10m: so long)
# make images   every container image, for VERSION and PLATFORM, with its size and user; in dist: binaries, bills of materials, checksums
# make vulncheck   the known vulnerabilities of all modules
# make pin     the digests of the images that our files name, from their registries
# make generate   the code of proto/ and the table of docs/event-types.md

MODULES := proto pkg pkg/bus/bustest services deploy/test/chaos services/connectors/ledger services/sandbox services/tieback deploy/test/kubernetes deploy/test/prometheus
PACKAGES := $(MODULES:%=./%/...) ./deploy/test/e2e/... ./deploy/test/lag-exporter/...
FUZZTIME ?= 30000x
BASE ?= origin/main

# The tools, pinned; built once into bin.
TOOLS := bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/staticcheck bin/govulncheck bin/cyclonedx-gomod bin/crane
bin/buf: PKG := github.com/bufbuild/buf/cmd/buf@v1.75.0
bin/protoc-gen-go: PKG := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
bin/protoc-gen-go-grpc: PKG := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
bin/staticcheck: PKG := honnef.co/go/tools/cmd/staticcheck@v0.8.2
bin/govulncheck: PKG := golang.org/x/vuln/cmd/govulncheck@v1.9.0
bin/cyclonedx-gomod: PKG := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
bin/crane: PKG := github.com/google/go-containerregistry/cmd/crane@v0.22.1
export CGO_ENABLED ?= 1

.PHONY: chaos flood rolling run test test-docker test-tryton bench check fuzz generate generated images pin vulncheck

run:
	@go run ./services/tieback demo $(if $(ERP),--erp $(ERP)) $(if $(ADDRESS),--address $(ADDRESS)) $(if $(KEEP),--keep) $(if $(SEED),--seed $(SEED))

# Those that run side by side wait, for the most part.
test:
	go test -race -parallel 4 -timeout 30m $(PACKAGES)
	@if command -v trytond >/dev/null; then :; elif docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-tryton; else \
	echo 'LEFT OUT: the tests that need Tryton; services/connectors/tryton/README.md names the packages.'; fi
	@if [ "$(CI)" = true ] || docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-docker; else \
	echo 'LEFT OUT: the tests that need Docker (make test-docker). All others ran.'; fi

# Verbose, as a test that finds no image says so and is left out.
test-docker:
	go test -race -count=1 -timeout 30m -v ./deploy/test/compose

# The tests run in the container as they are; its volume keeps the set-up company for the next time.
test-tryton:
	docker build -q -t tieback-tryton services/connectors/tryton
	go test -c -race -o bin/tryton.test ./services/connectors/tryton
	docker run --rm -e CI=true -v "$(CURDIR)/bin:/bin-host:ro" -v tieback-tryton:/root/.cache -w /tmp tieback-tryton /bin-host/tryton.test

# SEEDS=50 is the evidence, FOR=1h an hour of it, SEED=7 one seed again.
chaos:
	go run ./deploy/test/chaos $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FOR),--for $(FOR))

# OLD=auto is the newest release, or 20 commits ago.
rolling:
	go run ./deploy/test/chaos --rolling $(if $(SEED),--seed $(SEED)) $(if $(OLD),--old $(OLD))

flood:
	@CONNECTIONS="$(CONNECTIONS)" RATE="$(RATE)" FOR="$(FOR)" services/ingest/flood/run

bench:
	go build -o bin/tieback ./services/tieback
	bin/tieback bench

images:
	@VERSION="$(VERSION)" PLATFORM="$(PLATFORM)" deploy/docker/images

# pin renews the digests of the third parties' images that our files name.
pin: bin/crane
	deploy/docker/pin

# vulncheck looks up known vulnerabilities; GOVULNDB is another database than https://vuln.go.dev.
vulncheck: bin/govulncheck
	@.ci/vulncheck $(MODULES) deploy/test

check: generated bin/staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }
	@go test -count=1 ./services/tieback ./pkg/settings ./pkg/company -run 'TestLinks|TestReadme|TestVariables|TestCommands|TestComposeServices|TestThePage'
	go vet $(PACKAGES) ./deploy/test/...
	@for m in $(MODULES) deploy/test; do (cd $$m && GOWORK=off go build ./... && GOWORK=off go mod tidy -diff && "$(CURDIR)/bin/staticcheck" ./...) || exit 1; done

# generated fails if the committed code or docs differ from what would be generated.
generated: bin/buf
	cd proto && ../bin/buf lint
	@if git rev-parse -q --verify $(BASE) >/dev/null; then cd proto && ../bin/buf breaking --against '../.git#ref=$(BASE),subdir=proto'; fi
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code --stat -- proto docs deploy/kubernetes || { echo 'run make generate and commit the result'; exit 1; }

generate: bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc
	cd proto && PATH="$(CURDIR)/bin:$$PATH" ../bin/buf generate
	@go run ./services/tieback catalogue --into docs/event-types.md
	@go test ./deploy/test/kubernetes -run TestPrometheusRule -update

$(TOOLS):
	CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$(CURDIR)/bin" GOWORK=off go install $(PKG)

# Each target by its package. Inputs are counted by default: a run that is ended by its time may fail
# with "context deadline exceeded" and no finding. Minimizing one that is merely interesting is cut short.
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
