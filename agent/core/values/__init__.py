"""Values on the wire: money, quantities, times, addresses, names."""
