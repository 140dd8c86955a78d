# Everything here runs on Debian; `make test` and `make demo` as root. They install what they
# need, Go as well.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
PKGS     ?= ./...
BACKEND  ?= udp,vxlan,host-gw
FUZZTIME ?= 10s
SOAKTIME ?= 10m
ETCD     ?= debian
API      ?= v3
CHAOSTIME ?= 90s
TIMEOUT  ?= 40m
ARCHES   ?= amd64 arm64 arm riscv64 ppc64le s390x

# What the tests and the demo run beside flanneld itself.
PACKAGES := etcd-server etcd-client iproute2 iputils-ping iperf3 ethtool dash procps curl busybox-static \
            iptables nftables docker.io mmdebstrap systemd systemd-container dbus gcc libc6-dev
# What some of them skip themselves without, and say so.
OPTIONAL := qemu-user rpm lintian fish zsh minisign squashfs-tools podman skopeo apt-utils createrepo-c gpg dnf ansible-core openssh-client
SOURCES  := backend cmd dist pkg subnet

# A root shell by su has an ordinary user's PATH, without dpkg's and the lab's programs, and
# sudo's has no Go that lies where its own archive puts it.
export PATH := $(PATH):/usr/sbin:/sbin:/usr/local/go/bin

# Go fetches the release that go.mod names, which Debian's does not do unless it is told.
export GOTOOLCHAIN ?= auto

# Tools for the gate, in the releases that this names. gotestsum is in a module of its own,
# so that its dependencies are not the daemon's. golangci-lint is run with the releases of
# its 250 dependencies that it was released with. Go keeps what it has built of both.
GOTESTSUM := go tool -modfile=$(CURDIR)/.ci/go.mod gotestsum
MISSPELL  := go tool -modfile=$(CURDIR)/.ci/go.mod misspell -error -i netwrok,nmae # those that tests make
LINT      := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Runs commands that print `go test -json`, $(2): shows each package's result and the output of
# what fails as it comes, then what was skipped and why, then the counts. All of it is kept in
# bin/$(1).log, and all that tests printed in bin/$(1).json. It fails if no test passed: a run
# that tested nothing must not look good.
report = { mkdir -p bin; $(GOTESTSUM) --format pkgname-and-test-fails --format-icons text --format-hide-empty-pkg $(3) \
	--jsonfile bin/$(1).json --raw-command -- $(SHELL) -euo pipefail -c "$$$(2)" | tee bin/$(1).log && \
	{ grep -q '"Action":"pass".*"Test":' bin/$(1).json || { echo "error: no test passed"; false; }; }; }

.PHONY: help
help: ## Print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: go ## Build bin/flanneld and bin/flannelctl, static
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./cmd/flanneld ./cmd/flannelctl

# A module of its own: etcd's 258 modules are none of the daemon's. Whatever builds
# it has the same flags, or Go would compile etcd once more for each.
NESTED := cd cmd/flannel-etcd && CGO_ENABLED=0 GOFLAGS="$$(go env GOFLAGS) -trimpath"

.PHONY: etcd
etcd: go ## Build bin/flannel-etcd, static (the first time takes minutes)
	$(NESTED) go build -ldflags "$(LDFLAGS)" -o ../../bin/flannel-etcd .

# Newer etcds than Debian's, in the releases that the modules in .ci pin: 3.6 has no v2 API
# any more. Each takes one to two minutes the first time, and Go keeps what it has built.
ETCDS := 3.6 3.7

.PHONY: etcds
etcds: $(ETCDS:%=bin/etcd-%) ## Build bin/etcd-3.6 and bin/etcd-3.7, on which tests then run, too

bin/etcd-%: .ci/etcd-%.mod .ci/etcd-%.sum
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -modfile=$< -o $@ go.etcd.io/etcd/server/v3

# Packages whose code the order of bytes or the size of a word could make wrong. Their tests
# that qemu cannot run say so themselves: labtest.Native.
PORTABLE := ./backend/udp ./backend/underlay ./pkg/checksum ./pkg/datapath ./pkg/datapath/kernel ./pkg/envfile ./pkg/firewall \
            ./pkg/firewall/iptables ./pkg/firewall/nft ./pkg/netif ./pkg/offload ./pkg/tun ./pkg/udpbatch \
            ./subnet/cache ./subnet/wire
OTHERS   := s390x arm # big-endian, and 32 bits

# As root, tests run in a user namespace where they are not: the kernel lets them do what it
# lets any user do, and those that need root skip themselves as they do for a user.
AS_USER := $(if $(filter 0,$(shell id -u)),-exec 'unshare --user --map-user=1000 --map-group=1000 --')

# With the race detector a program waits for a second before it ends, so that threads have
# time to race; tests that have ended have none, and this is half of the time of this run.
define UNPRIVILEGED
export GORACE=atexit_sleep_ms=0
exec go test -race -vet=off -short -timeout 5m -json $(AS_USER) $(PKGS)
endef
export UNPRIVILEGED

# The most bytes of the program, and of one without etcd's v3 API, whose gRPC has eight million.
.PHONY: sizes
sizes: go ## Check that the program is small enough, with and without etcd's v3 API
	@measure() { \
		CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -tags "$$1" -o bin/measured ./cmd/flanneld; \
		size=$$(stat -c %s bin/measured); rm bin/measured; echo "flanneld$${1:+ -tags $$1}: $$size bytes"; \
		[ $$size -le $$2 ] || { echo "error: flanneld$${1:+ -tags $$1} has more than $$2 bytes"; exit 1; }; \
	}; \
	measure "" 24000000; measure no_etcd3 12000000
	@go test -tags no_etcd3 -run 'WithoutV3' ./cmd/flanneld

.PHONY: check
check: go cc lint sizes ## Run linter, check sizes and, with -race, all tests that need no root (PKGS=./subnet/...)
	@$(call report,check,UNPRIVILEGED,--hide-summary=skipped)

.PHONY: cc
cc:
	@command -v "$$(go env CC)" >/dev/null || { echo "error: the race detector needs a C compiler"; \
		echo "hint: apt-get install gcc libc6-dev"; exit 1; }

# A package takes up to four minutes, and on a loaded machine four times as long. The search
# for two owners waits most of its time, and has company; what comes after it measures.
define TESTS
status=0; chaos=$$(mktemp); trap "rm -f $$chaos" EXIT
go test -count=1 -timeout $(TIMEOUT) -json $(PKGS) || status=1
[ "$(PKGS)" = ./... ] || exit $$status
(cd subnet/chaos && exec go test -count=1 -timeout $(TIMEOUT) -json ./...) >$$chaos &
($(NESTED) go test -vet=off -count=1 -timeout $(TIMEOUT) -json ./...) || status=1
(cd dist/release && exec go test -count=1 -timeout $(TIMEOUT) -json ./...) || status=1
wait $$! || status=1
cat $$chaos
exit $$status
endef
export TESTS

define EMULATED
status=0
packages=$$(comm -12 <(go list $(PORTABLE) | sort) <(go list $(PKGS) | sort))
for arch in $(OTHERS); do
	CGO_ENABLED=0 GOARCH=$$arch FLANNELD_TEST_EMULATED=1 go test -vet=off -count=1 -json -exec qemu-$$arch $$packages | \
		sed -u "s|\"Package\":\"|&$$arch: |; s|\"ImportPath\":\"|&$$arch: |" || status=1
done
exit $$status
endef
export EMULATED

# It comes first, since what follows may install and build for minutes.
.PHONY: notice
notice:
	@[ "$(PKGS)" != ./... ] || echo "This takes 20 minutes on two cores, 35 the first time, and some 10 GB below ~/.cache and ~/go."

# go vet comes before, and once: go test would have it analyse all of etcd again.
.PHONY: test
test: root notice go tools etcd bin/etcd-3.6 ## Vet, check formatting, run all tests (root; installs missing Debian packages; PKGS=./subnet/...)
	go vet -tags soak ./...
	go vet -tags no_etcd3 ./cmd/flanneld
	cd subnet/chaos && go vet ./...
	$(NESTED) go vet ./...
	cd dist/release && go vet ./...
	@unformatted=$$(gofmt -l $(SOURCES)); \
	if [ -n "$$unformatted" ]; then echo "error: not formatted by gofmt:" $$unformatted; exit 1; fi
	@status=0; \
	if ! command -v $(addprefix qemu-,$(OTHERS)) >/dev/null; then \
		echo "skipped: tests on $(OTHERS): qemu-user is not installed"; \
	elif go list $(PKGS) | grep -xF "$$(go list $(PORTABLE))" >/dev/null; then \
		$(call report,emulated,EMULATED,--hide-summary=skipped) || status=1; \
	fi; \
	$(call report,test,TESTS) || status=1; \
	[ "$$status" = 0 ] || echo "error: tests failed; what they printed is in bin/emulated.log and bin/test.log"; \
	exit $$status

.PHONY: lint
lint: go ## Run golangci-lint with .golangci.yml (the first time it is built, which takes minutes)
	$(LINT) run --build-tags soak
	cd subnet/chaos && $(LINT) run
	cd cmd/flannel-etcd && $(LINT) run
	cd dist/release && $(LINT) run
	git ls-files '*.go' '*.md' '*.in' '*.txtar' '*.sh' '*.c' '*.service' dist/man Makefile | xargs $(MISSPELL)

.PHONY: bench
bench: root go tools ## Run the benchmarks (root)
	go test -run '^$$' -bench . -timeout $(TIMEOUT) ./...

.PHONY: demo
demo: root go tools build $(filter-out debian,$(ETCD:flannel-etcd=etcd)) ## Show three hosts with containers behind each (root; BACKEND=udp,vxlan,host-gw API=v3|v2 ETCD=debian|flannel-etcd)
	go build -o bin/flannel-demo ./cmd/flannel-demo
	bin/flannel-demo --flanneld=bin/flanneld --etcd=$(if $(filter debian,$(ETCD)),etcd,bin/$(ETCD)) --etcd-api=$(API) --backend=$(BACKEND)

.PHONY: fuzz
fuzz: go ## Run every fuzz target for FUZZTIME=10s
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || :); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done
	@$(NESTED); export CGO_ENABLED GOFLAGS; for target in $$(go test -vet=off -list '^Fuzz' . | grep '^Fuzz'); do \
		echo "== flannel-etcd $$target"; \
		go test -vet=off -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .; \
	done

.PHONY: soak
soak: root go tools ## Run the udp engine under load for SOAKTIME=10m (root)
	SOAKTIME=$(SOAKTIME) go test -tags soak -count=1 -timeout 0 -run '^TestSoak$$' -v ./backend/udp/engine | \
		grep -v '^ *\(===\|---\|  *lab_test\)'

# What a run that fails leaves to look at is in CHAOSDIR.
CHAOSDIR ?= $(CURDIR)/subnet/chaos/_artifacts
export CHAOSDIR

.PHONY: chaos
chaos: go tools ## Look for two owners of one subnet for CHAOSTIME=90s, in a full network and in an empty one
	cd subnet/chaos; CHAOSTIME=$(CHAOSTIME) go test -count=1 -timeout 0 -run '^(TestNoSubnetHasTwoOwners|TestOldRulesAreFoundGuilty)$$' -v . | \
		grep -v '^ *=== '

.PHONY: arches
arches: root go ## Run each architecture's program, unit tests, demo and kernel, emulated (root; ARCHES=riscv64 ONLY=demo; see dist/arches/check)
	@PORTABLE='$(PORTABLE)' ONLY='$(ONLY)' dist/arches/check $(ARCHES)

KERNELS ?= $(foreach kernel,5.10 6.1 6.12,$(kernel) $(kernel)-lockdown)
.PHONY: kernels
kernels: root go tools ## Run what touches the kernel on Debian's kernels, emulated (root; KERNELS="6.12 newest" ONLY=udp-kernel; see dist/kernels/check)
	@ONLY='$(ONLY)' dist/kernels/check $(KERNELS)

.PHONY: clean
clean: ## Remove what build made
	rm -rf bin packages release repository

# A package has the commit's time and version, so that it is the same each time.
OUT         ?= packages
COMMIT_TIME := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
PKG_VERSION ?= $(shell echo '$(VERSION)' | sed -E 's/^v([0-9])/\1/; t dots; s/^/0~git'$$(date -u -d @$(COMMIT_TIME) +%Y%m%d%H%M%S)'./; :dots; s/-/./g')
PACKAGER    ?= $(shell git log -1 --format='%cn <%ce>' 2>/dev/null)

.PHONY: packages
packages: go ## Build .deb and .rpm of flanneld and flannel-etcd (ARCHES="amd64 arm64 …", OUT=packages PACKAGER="Name <address>")
	@OUT='$(OUT)' VERSION='$(VERSION)' PKG_VERSION='$(PKG_VERSION)' COMMIT_TIME='$(COMMIT_TIME)' PACKAGER='$(PACKAGER)' COMMIT='$(COMMIT)' \
		WITHOUT_ETCD='$(WITHOUT_ETCD)' dist/package/build $(ARCHES)

# All that a release page has. What is of another version is in another directory.
IMAGE ?= localhost/flanneld
release: OUT := release/$(VERSION)
export MINISIGN_PASSWORD
.PHONY: release
release: go squashfs packages ## Build packages, archives, image, system extensions, SBOM, checksums, signature (ARCHES="amd64 …" KEY=minisign.key OUT=release/VERSION)
	@OUT='$(OUT)' VERSION='$(VERSION)' COMMIT='$(COMMIT)' COMMIT_TIME='$(COMMIT_TIME)' IMAGE='$(IMAGE)' KEY='$(KEY)' \
		WITHOUT_ETCD='$(WITHOUT_ETCD)' dist/release/build $(ARCHES)

FROM ?= $(if $(wildcard release/$(VERSION)/*.deb),release/$(VERSION),packages)
repository: OUT := repository
.PHONY: repository
repository: ## Make repositories for apt and dnf of packages that are built (GPG_KEY=FILE URL=https://… FROM=packages OUT=repository)
	@FROM='$(FROM)' OUT='$(OUT)' URL='$(URL)' GPG_KEY='$(GPG_KEY)' dist/release/repository

.PHONY: squashfs
squashfs:
	@command -v mksquashfs >/dev/null || { echo "error: system extensions need mksquashfs"; \
		echo "hint: apt-get install squashfs-tools"; exit 1; }

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "error: this makes network namespaces and needs root"; \
		echo "hint: sudo env \"PATH=\$$PATH\" make $(MAKECMDGOALS)"; exit 1; }

# A Go that can build this.
.PHONY: go
go:
	@.ci/go

# apt runs only if something is missing. The policy keeps Debian from starting
# the services that come with the programs: a store on port 2379 of the machine,
# or a Docker that changes its firewall, is nobody's wish, and tests start their own.
POLICY := /usr/sbin/policy-rc.d
.PHONY: tools
tools:
	@lacking() { \
		for package; do \
			[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || echo -n " $$package"; \
		done; \
	}; \
	missing=$$(lacking $(PACKAGES)); optional=$$(lacking $(OPTIONAL)); \
	[ -n "$$missing$$optional" ] || exit 0; \
	echo "installing:$$missing$$optional"; \
	if [ ! -e $(POLICY) ]; then \
		trap "rm -f $(POLICY)" EXIT; \
		printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod 755 $(POLICY); \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	install() { apt-get install -q -y --no-install-recommends "$$@"; }; \
	apt-get update -q || :; \
	[ -z "$$missing" ] || install $$missing || { echo "error: apt-get did not install$$missing"; \
		echo "hint: above is why; this needs Debian's archive once, and none of it once they are installed"; exit 1; }; \
	[ -z "$$optional" ] || install $$optional || echo "note: not installed:$$optional; what needs them is skipped"; \
	[ -d /run/systemd/system ] || exit 0; \
	case "$$missing" in *etcd-server*) systemctl disable --quiet --now etcd || :;; esac; \
	case "$$missing" in *docker.io*) systemctl disable --quiet --now docker.socket docker containerd || :;; esac
