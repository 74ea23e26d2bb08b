# Node 24 comes from npm and stands first on PATH: an older node makes npm pick old majors, and vitest print nothing useful.
ARCH := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,x64)
export PATH := $(CURDIR)/node_modules/node-linux-$(ARCH)/bin:$(CURDIR)/node_modules/.bin:$(PATH)
INSTALLED := node_modules/.package-lock.json

.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): package.json package-lock.json
	npm ci --no-fund --no-audit
	@touch $@

demo: build ## A cluster of three nodes on this machine, with the operator at work; Ctrl-C ends it
	node test/cluster/demo.ts

test: build ## Every suite that can run here; REQUIRE=all makes one that cannot a failure
	node test/run.ts

check: $(INSTALLED) lint ## Types and lint, without tests
	tsc -p .

lint: $(INSTALLED) ## oxlint over everything
	oxlint --deny-warnings src test *.ts

build: $(INSTALLED) ## bin/cachepolicy and the bundles of the image (dist/)
	@node build.ts

generate: $(INSTALLED) ## Types from the CRDs
	node generate.ts

verify: generate check ## Fails where something generated is not committed
	@git diff --exit-code -- src/api || { echo 'generated files differ: run make generate and commit'; exit 1; }

golden: $(INSTALLED) ## Write the golden decisions anew; review them as text
	GOLDEN=update vitest run --project unit test/policy

bench: build ## Speed and memory, each against a baseline of the same run; ONLY=name,name chooses, BENCH_FULL=1 takes longer
	node test/bench/run.ts

soak: build ## Crashes, races and hostile hands for as long as it takes; SEED= repeats one, SCALE=0.01 tries it out
	node test/soak/run.ts $(SOAK)

bench-cluster: build ## 5,000 agents, a thousand policies and a controller on the embedded control plane (30 min); SCALE=small in 4, PARTS=many for one part
	node test/bench-cluster/run.ts

e2e: build ## Only the suite on two real nodes (Linux, root)
	node test/run.ts e2e

e2e-kind: build ## The same suite on a kind cluster (needs a container engine and kind)
	node test/cluster/kind.ts

deflake: $(INSTALLED) ## The unit suite in random order until it fails
	while vitest run --project unit --sequence.shuffle; do :; done

clean: ## Remove what was built
	git clean -qfdX dist bin

.PHONY: help demo test check lint build generate verify golden bench bench-cluster soak e2e e2e-kind deflake clean
