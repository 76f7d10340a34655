"""Prices, payments, offers, and what is remembered of miners and clients."""
