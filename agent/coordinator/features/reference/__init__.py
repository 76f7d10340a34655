"""The reference of the API: its OpenAPI document, from what the routes declare."""
