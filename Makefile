# Names for the scripts in scripts/, which document themselves. All targets except clean first install what is missing.
.PHONY: setup demo start test test-system test-sample test-chaos test-ship check audit bench format docs clean

# Debian packages, .venv, demo models.
setup:
	@scripts/setup

# Runs a real job of each of the seven services with a real agent, and verifies the receipts offline.
demo:
	@scripts/demo

# Coordinator and miner on this machine, until Ctrl-C.
start: setup
	@.venv/bin/aitbc-agent start

# The tests that a change needs while it is made.
test:
	@scripts/test

# The tests of whole programs, which a change needs before it is ready.
test-system:
	@scripts/test --system

# Of the next two, what every change must pass.
test-sample:
	@scripts/test --sample

# The tests that kill and flood agents, inject faults, and generate thousands of requests and histories.
test-chaos:
	@scripts/test --chaos

# The tests of the image, the service, the wheel, other clients, the benchmarks, and every code block in the guides.
test-ship:
	@scripts/test --ship

# Style, format, types and import rules.
check:
	@scripts/check

# Checks for advisories about the installed packages. Needs the network.
audit:
	@scripts/audit

# Benchmarks on this machine.
bench:
	@scripts/bench

# Formats the code and applies automatic fixes.
format:
	@scripts/format

# Writes the pages and files that are generated from the code, and builds the documentation site into build/site.
docs: setup
	@scripts/docs

# Deletes build results, but not models, data and settings.
clean:
	@scripts/clean
