"""Entry point of the child process: `python -m runners.host`."""

from runners.host.process import main

main()
