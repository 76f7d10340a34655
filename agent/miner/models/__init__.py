"""Models on disk: which there are, where they come from, and how long they stay.

The catalogue is `configs/models.toml`, which `scripts/catalogue_check.py` compares with the Hub.
"""
