"""The page `/metrics`, and the metrics that are collected for it."""
