# Two targets do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
export PATH := $(CURDIR)/bin:$(PATH)
FUZZTIME ?= 3s

# What the tests and the demo run: file systems, firmware, a real Samba, and
# the validators of what we write.
PACKAGES := 7zip dosfstools e2fsprogs fuse3 gcc gdisk gnu-efi libhivex-bin libc6-dev mtools ntfs-3g ovmf \
	qemu-system-x86 qemu-utils reglookup samba smbclient wimtools xz-utils

.PHONY: help test demo lint unit fuzz bench packages tools build clean

help:
	@echo 'make demo           run convertToUefi for real on this machine (KEEP=1 leaves it running)'
	@echo 'make test           everything: set-up, lint, tests'
	@echo 'make build          bin/imageport'
	@echo 'make bench          a job, the conversion, copying and the share, the latter beside their peers'
	@echo 'make fuzz           fuzz every parser, FUZZTIME each (default $(FUZZTIME))'

test: packages tools build lint unit fuzz

demo: packages tools build
	@go run ./testkit/demo $(if $(KEEP),-keep)

bench: packages tools build
	go run ./bench
	go run ./bench/convert
	go run ./bench/copy
	go run ./bench/reverse
	go run ./bench/share

build:
	go build -trimpath -o bin/imageport ./cmd/imageport

lint: tools
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	staticcheck ./...
	workflowcheck -config workflows/workflowcheck.yaml ./workflows/...

unit:
	go test -count=1 -timeout 15m ./...

fuzz:
	@testkit/fuzz.sh $(FUZZTIME)

packages:
	@testkit/packages.sh $(PACKAGES)

tools: bin/temporal bin/staticcheck bin/workflowcheck

# The Temporal CLI with its dev server lives in a module of its own: in ours it
# would change our dependencies and not compile.
bin/temporal: tools/go.mod tools/go.sum
	cd tools && go build -trimpath -ldflags '-s -w -X github.com/temporalio/cli/temporalcli.Version=1.5.1' -o ../$@ github.com/temporalio/cli/cmd/temporal

bin/staticcheck: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && go build -trimpath -o ../../$@ honnef.co/go/tools/cmd/staticcheck

bin/workflowcheck: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && go build -trimpath -o ../../$@ go.temporal.io/sdk/contrib/tools/workflowcheck

clean:
	rm -rf bin build
