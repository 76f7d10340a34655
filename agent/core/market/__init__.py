"""Prices, payments, offers, and the track records of miners and clients."""
