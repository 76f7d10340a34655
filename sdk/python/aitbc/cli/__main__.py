"""`python -m aitbc.cli` is the command `aitbc`."""

from aitbc.cli import main

main()
