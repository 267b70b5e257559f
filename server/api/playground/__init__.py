"""The playground: one static page that tries the endpoint out, and the route that serves it."""
