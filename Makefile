# Thin names over scripts/, whose files say what they do. All but clean first set up what is missing.
.PHONY: setup demo start test test-ship check audit bench format docs clean

# Debian packages, .venv, demo models.
setup:
	@scripts/setup

# A real agent does a real job of each of the six services, and their receipts verify offline.
demo:
	@scripts/demo

# Coordinator and miner on this machine, until Ctrl-C.
start: setup
	@.venv/bin/aitbc-agent start

# What a change needs.
test:
	@scripts/test

# The image, the service, the wheel, and every block of the guides.
test-ship:
	@scripts/test --ship

# Style, format, types, who may import whom.
check:
	@scripts/check

# Whether there are advisories about the installed packages. Needs the network.
audit:
	@scripts/audit

# How fast it is on this machine.
bench:
	@scripts/bench

# Formats, and mends what ruff can mend by itself.
format:
	@scripts/format

# Writes what is generated from the code, and builds the documentation site into build/site.
docs: setup
	@scripts/docs

# Removes what was built; models, data and settings stay.
clean:
	@scripts/clean
