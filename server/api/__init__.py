"""The HTTP surface: app, routes, schemas, errors."""
