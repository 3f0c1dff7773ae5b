"""`/api/v1`: accounts and their rights over HTTP, described by OpenAPI."""
