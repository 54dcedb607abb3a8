"""The HTTP contract as types, which the service and its client share: no web framework here."""
