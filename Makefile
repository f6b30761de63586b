# Two targets do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
export PATH := $(CURDIR)/bin:$(PATH)
# One way to compile programs, tests and what linters read: nothing is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)
FUZZTIME ?= 300ms
PLATFORM ?= local

# What the tests and the demo run: file systems, firmware, a real Samba, and
# the validators of what we write.
PACKAGES := 7zip age binutils dosfstools e2fsprogs fuse3 gcc gcc-mingw-w64-x86-64-win32 gdisk gnu-efi libhivex-bin \
	libc6-dev msitools mtools nsis ntfs-3g ovmf \
	qemu-system-x86 qemu-utils jq reglookup samba sbsigntool smbclient systemd wimtools wine wine64 wixl xorriso xz-utils

.PHONY: help test demo lint unit fuzz bench full conformance peers packages tools runner build fetch appliance postgres clean webui

help:
	@echo 'make demo           run convertToUefi for real on this machine (KEEP=1 leaves it running,'
	@echo '                    PLATFORM=qemu does it in a virtual machine, PLATFORM=vsphere does both'
	@echo '                    operations on a simulated vSphere, vsphere-vm with virtual machines,'
	@echo '                    PLATFORM=xenserver on a simulated XenServer)'
	@echo 'make test           everything: set-up, lint, tests'
	@echo 'make build          bin/imageport and bin/imageport-ce, with the first-boot runner in them'
	@echo 'make appliance      build/appliance: the virtual machine of Compositing Engines'
	@echo 'make bench          a job, the conversion, copying and the share, the latter beside their peers'
	@echo 'make full           the long forms of what make test has examples of (some 30 minutes)'
	@echo 'make conformance    docs/conformance.md: what each platform passes of the suite'
	@echo 'make postgres       the compose file as processes: PostgreSQL, its Temporal server (built in minutes), a job'
	@echo 'make webui          jobs in the Temporal Web UI, in Chromium'
	@echo 'make fuzz           fuzz every parser, FUZZTIME each (default $(FUZZTIME))'

test: packages tools build fetch lint unit fuzz

# What upgradePvs brings into a Windows: embedded, so it is there before the rest
# is compiled.
RUNNER := firstboot/embedded/files/firstboot-amd64.exe
RUNNER_SOURCES := go.mod go.sum $(filter-out %_test.go,$(wildcard cmd/firstboot/*.go firstboot/plan/*.go firstboot/runner/*.go))

runner: $(RUNNER)

$(RUNNER): $(RUNNER_SOURCES)
	GOOS=windows GOARCH=amd64 go build -buildvcs=false -ldflags '-s -w -buildid=' -o $@ ./cmd/firstboot

demo: packages tools build $(if $(filter qemu vsphere-vm,$(PLATFORM)),appliance)
	@go run ./testkit/demo $(if $(KEEP),-keep) $(if $(filter vsphere vsphere-vm,$(PLATFORM)),-vsphere) $(if $(filter xenserver,$(PLATFORM)),-xenserver) \
		$(if $(filter qemu,$(PLATFORM)),-appliance $(APPLIANCE)/imageport-ce.raw) \
		$(if $(filter vsphere-vm,$(PLATFORM)),-appliance $(APPLIANCE)/imageport-ce.ova)

# Other people's clients and servers: Xen Orchestra's client against our XAPI, and
# Azurite and fake-gcs-server under the upload of the appliance.
peers: tools
	@command -v npm >/dev/null || testkit/packages.sh nodejs npm
	npm ci --prefix lab/xapi/peer --no-audit --no-fund --ignore-scripts
	go test -count=1 -tags peer -run TestPeer ./lab/xapi
	npm ci --prefix platforms/azure/azurite --no-audit --no-fund --ignore-scripts
	go test -count=1 -tags peer -run TestAzurite ./platforms/azure
	cd platforms/gcp/fakegcs && go test -count=1 .

# Jobs in Temporal's Web UI, in a real browser. SHOTS=1 renews the pictures of
# docs/webui.md.
webui: packages tools
	@testkit/packages.sh chromium fonts-dejavu-core
	go vet -tags webui ./testkit/webui
	go test -count=1 -tags webui ./testkit/webui $(if $(SHOTS),-args -shots $(CURDIR)/docs/images/webui)

# What make test has examples of: every layout in every container, booted, and every
# failure of upgradePvs.
full: packages tools build
	go test -count=1 -timeout 60m ./engine/convert -run Matrix -args -full
	go test -count=1 -timeout 60m ./testkit/e2e -run Upgrade -args -full

# What the suite of all drivers says of each, in the documentation.
conformance: packages tools build
	rm -rf build/conformance
	IMAGEPORT_CONFORMANCE=$(CURDIR)/build/conformance go test -count=1 -run 'Conformance' ./platforms/local ./platforms/qemu ./platforms/vsphere \
		./platforms/xenserver ./platforms/azure ./platforms/gcp
	go run ./platforms/platformtest/table build/conformance > docs/conformance.md

bench: packages tools build fetch
	go run ./bench
	go run ./bench/appliance
	go run ./bench/build
	go run ./bench/convert
	go run ./bench/copy
	go run ./bench/lab
	go run ./bench/load
	go run ./bench/reverse
	go run ./bench/share
	go run ./bench/upgrade

build: $(RUNNER)
	go build -ldflags '-s -w' -o bin/imageport ./cmd/imageport
	go build -ldflags '-s -w -buildid=' -o bin/imageport-ce ./cmd/imageport-ce

# The Debian packages that the appliance is made of. A mirror drops old versions:
# then the tests use the present ones, from lists whose signature is checked.
REFRESHED := build/packages.lock
APPLIANCE := build/appliance

fetch: build
	@mkdir -p build
	@bin/imageport appliance fetch --refresh $(REFRESHED)

appliance: fetch
	@bin/imageport appliance build --out $(APPLIANCE) --refresh $(REFRESHED) --formats raw,ova --bios

# All of docker-compose.yml as processes, with the Temporal server that it names.
postgres: packages tools build bin/temporal-server
	@testkit/packages.sh netcat-openbsd postgresql
	go test -count=1 -tags postgres -v -run 'TestPostgres|TestContainer' ./testkit/deploytest

# The release in docker-compose.yml, which a test compares.
bin/temporal-server:
	GOBIN=$(CURDIR)/build/server go install -ldflags '-s -w' go.temporal.io/server/cmd/server@v1.32.1 go.temporal.io/server/cmd/tools/sql@v1.32.1
	mv build/server/sql bin/temporal-sql-tool && mv build/server/server $@

lint: tools $(RUNNER)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	GOOS=windows go vet ./cmd/firstboot
	staticcheck ./...
	GOOS=windows staticcheck ./cmd/firstboot
	workflowcheck -config workflows/workflowcheck.yaml ./workflows/...

unit: $(RUNNER)
	@# What waits most goes first, beside what computes. lint has vetted everything;
	@# nobody debugs these programs, which link faster without symbols.
	go test -count=1 -vet=off -ldflags=-s -timeout 15m -p 3 ./testkit/e2e ./testkit/cevm ./engine/convert ./...

fuzz: $(RUNNER)
	@testkit/fuzz.sh $(FUZZTIME)

packages:
	@testkit/packages.sh $(PACKAGES)

tools: bin/temporal bin/staticcheck bin/workflowcheck bin/promtool

# The Temporal CLI with its dev server lives in a module of its own: in ours it
# would change our dependencies and not compile.
bin/temporal: tools/go.mod tools/go.sum
	cd tools && go build -ldflags '-s -w -X github.com/temporalio/cli/temporalcli.Version=1.5.1' -o ../$@ github.com/temporalio/cli/cmd/temporal

# Prometheus' checker of rules, without the server and its pages.
bin/promtool:
	@mkdir -p bin && rm -rf build/prometheus && mkdir -p build/prometheus
	cd build/prometheus && apt-get download -qq prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool > promtool
	chmod +x build/prometheus/promtool && mv build/prometheus/promtool $@ && rm -rf build/prometheus

bin/staticcheck: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && go build -o ../../$@ honnef.co/go/tools/cmd/staticcheck

bin/workflowcheck: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && go build -o ../../$@ go.temporal.io/sdk/contrib/tools/workflowcheck

clean:
	rm -rf bin build $(RUNNER)
