"""Miners that keep handing jobs back get none for a while, and clients whose jobs keep failing by their own fault run few at a time."""
