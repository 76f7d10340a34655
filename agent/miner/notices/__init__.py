"""Notices to the owner: `conditions` decides which are due, `delivery` sends them, `watch` looks at the machine and remains aware of what was sent."""
