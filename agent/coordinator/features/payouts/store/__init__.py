"""The tables of payouts, one module for each of their nouns."""
