"""Money and quantities as people read them. The dashboard writes them alike; `tests/vectors/amounts.json` fixes both.

`amounts` rounds money; `sale_units` states the work of a service, and its price, in what people buy, such as an hour of audio.
"""
