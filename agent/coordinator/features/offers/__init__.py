"""Offers: prices at which miners run a limited number of jobs for a while, and the jobs that clients give to them."""
