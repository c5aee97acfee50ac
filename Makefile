# photree: build, test, demonstrate and install.
# `make demo` and `make test` set up a fresh Debian machine by themselves (see `deps`).

VERSION   ?= 0.1.0
GO        ?= go
PREFIX    ?= /usr
DESTDIR   ?=
SYSCONFDIR ?= /etc
export CGO_ENABLED = 0

GOFLAGS_RELEASE = -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
BOOTFLAGS       = -trimpath -ldflags '-s -w'

# Debian packages that the tests and the demo use: virtual machines and
# firmware, GRUB's images, and the programs that photree is compared with.
TEST_PACKAGES = qemu-system-x86 qemu-utils ovmf grub-pc-bin grub-efi-amd64-bin \
	grub-common e2fsprogs dosfstools mtools xorriso fdisk ostree ostree-tests rpm dnf \
	createrepo-c attr strace cpio zstd xz-utils util-linux python3-solv \
	kmod xfsprogs erofs-utils gnupg openssl parallel python3

.PHONY: all build deps test peer-tests demo powercut bench fuzz lint install man clean race

all: build

# build puts the static binaries, and the names photree is also called by, into bin/.
build:
	@mkdir -p bin
	$(GO) build $(BOOTFLAGS) -o bin/photree-init ./cmd/photree-init
	$(GO) build $(BOOTFLAGS) -o bin/ostree-prepare-root ./cmd/ostree-prepare-root
	$(GO) build $(GOFLAGS_RELEASE) -o bin/photree ./cmd/photree
	@for name in ostree rpm-ostree mkostreerepo; do ln -sfn photree bin/$$name; done

# deps installs, with apt, the Debian packages that are missing, and says which.
deps:
	@missing=; for p in $(TEST_PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing Debian packages for the tests:$$missing"; \
		$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -q --no-install-recommends $$missing; \
	fi; \
	ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || { sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get update -q; }

# ROOT runs a command as root: the tests make loop devices, mounts and namespaces.
ROOT = $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH" "GOCACHE=$$($(GO) env GOCACHE)" "GOMODCACHE=$$($(GO) env GOMODCACHE)")

test: deps build
	$(ROOT) $(GO) vet ./...
	$(ROOT) $(GO) test -timeout 80m ./...

# peer-tests runs ostree's own black-box tests with photree's ostree.
peer-tests: deps build
	$(ROOT) $(GO) run ./qemu-tests/peer

demo: deps build
	$(ROOT) $(GO) run ./qemu-tests/demo

# powercut cuts the power at 30,000 and more points of photree's commands (docs/reliability.md), and writes what came out
# into out/powercut.md.
POWERCUT_POINTS ?= 33000
powercut: deps
	@mkdir -p out
	$(ROOT) $(GO) run ./qemu-tests/powercut -points $(POWERCUT_POINTS) -o out/powercut.md

# race runs the packages with concurrency under the race detector (needs a C compiler).
race: deps build
	$(ROOT) env CGO_ENABLED=1 $(GO) test -race -short ./internal/... ./repo/... ./compose/repomd/...

bench: deps build
	$(ROOT) $(GO) run ./qemu-tests/bench -o docs/benchmarks.md

# fuzz runs every fuzz target for FUZZTIME each.
FUZZTIME ?= 30s
fuzz:
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		dir=$$(dirname "$$file"); \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do \
			echo "== $$dir $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$dir"; \
		done; done

# lint needs staticcheck and golangci-lint; it installs them with go install when they are missing.
GOBIN_DIR = $(shell $(GO) env GOPATH)/bin
lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...
	@[ -x $(GOBIN_DIR)/staticcheck ] || $(GO) install honnef.co/go/tools/cmd/staticcheck@latest
	@[ -x $(GOBIN_DIR)/golangci-lint ] || $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@latest
	$(GOBIN_DIR)/staticcheck ./...
	$(GOBIN_DIR)/golangci-lint run ./...

man: build
	@mkdir -p out/man
	bin/photree man out/man
	@echo 'the manual pages are in out/man'

# install puts photree under DESTDIR/PREFIX: the binaries and the names they are
# also called by, the systemd units, completions and manual pages.
LIBDIR = $(DESTDIR)$(PREFIX)/lib
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(LIBDIR)/photree $(LIBDIR)/ostree \
		$(LIBDIR)/systemd/system $(LIBDIR)/systemd/system-preset $(LIBDIR)/systemd/system-generators \
		$(DESTDIR)$(PREFIX)/share/man $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 0755 bin/photree $(DESTDIR)$(PREFIX)/bin/photree
	@for name in ostree rpm-ostree mkostreerepo; do ln -sfn photree $(DESTDIR)$(PREFIX)/bin/$$name; done
	install -m 0755 bin/photree-init $(LIBDIR)/photree/photree-init
	install -m 0755 bin/ostree-prepare-root $(LIBDIR)/ostree/ostree-prepare-root
	ln -sfn ostree-prepare-root $(LIBDIR)/ostree/ostree-remount
	ln -sfn ../../ostree/ostree-prepare-root $(LIBDIR)/systemd/system-generators/ostree-system-generator
	install -m 0644 units/*.service $(LIBDIR)/systemd/system/
	install -m 0644 units/*.preset $(LIBDIR)/systemd/system-preset/
	bin/photree man $(DESTDIR)$(PREFIX)/share/man/man1
	@for name in photree ostree rpm-ostree; do \
		bin/photree completion --program=$$name bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$name; \
		bin/photree completion --program=$$name zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$name; \
		bin/photree completion --program=$$name fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$name.fish; done

clean:
	rm -rf bin out
