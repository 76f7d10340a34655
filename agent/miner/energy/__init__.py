"""What the machine consumes for its jobs, what that costs, and what is left of their price.

`meter` divides the energy of cards and processors among jobs, `shares` is the rule for it; `tariff` knows the price of electricity,
`history` stores the figures, `profit` decides which models are not worth their electricity, and `account` connects these.
"""
