"""Offers and their prices, and statistics of the market."""
