"""Payouts of miners' earnings: the contract of adapters, the adapters, and the worker that sends approved batches."""
