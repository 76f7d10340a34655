"""Values as they travel: money, quantities, times, addresses, names."""
