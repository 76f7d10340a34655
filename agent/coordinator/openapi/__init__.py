"""The API's OpenAPI document: routes use `declare` for their parts, and `document` assembles it."""
