"""Offers, their prices, and the statistics of the market."""
