"""Valkey: who sits where right now, and nothing that could not be read from PostgreSQL again."""
