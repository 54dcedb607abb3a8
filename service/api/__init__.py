"""HTTP: routes and middleware. Nothing below knows of it."""
