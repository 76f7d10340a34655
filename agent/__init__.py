"""AITBC agent: a coordinator, a miner and the command line that starts them."""

__version__ = "0.3.0"
