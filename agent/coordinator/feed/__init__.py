"""What happens, published to its subscribers in the order of the commits."""
