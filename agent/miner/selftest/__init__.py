"""Tests whether this machine computes right and fast: its cards in the sandbox that jobs use, and one job of each service.

`selftest` performs the steps, `repeating` does so while the miner runs and is idle. The two programs run inside the sandbox; `cards`,
`processor`, `video` and `services` judge what they return.
"""
