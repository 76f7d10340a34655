"""Offers: prices at which miners run a limited number of jobs for a while, and the jobs that clients give to them.

`rules` is pure, `offers` has the use cases, `standing` the offers that renew themselves, and `acceptance` gives jobs to offers.
"""
