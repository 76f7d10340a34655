"""The HTTP server, and the middleware between it and the routes."""
