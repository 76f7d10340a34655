"""How many calls a key or an address may make in a time."""
