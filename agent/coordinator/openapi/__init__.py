"""The API's OpenAPI document: `declare` is what routes say for it, `document` puts it together."""
