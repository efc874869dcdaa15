"""Retention: cold storage, licence expiry, destruction."""
