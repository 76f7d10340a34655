"""SQL of the statistics of miners."""
