"""Engines in environments of their own: which there are, how they are installed, and which interpreter serves a job.

Engines pin each other's dependencies, so that two of them rarely fit into one environment. Each is therefore installed by
uv from a lock file into `engines_dir/NAME/DIGEST`, and the child processes of its runners use that environment's interpreter.
They are declared in `configs/engines.toml`; `scripts/engine_locks.py` writes the lock files.
"""
