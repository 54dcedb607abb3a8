"""HTTP: routes, wire models, problems. Everything below knows nothing of it."""
