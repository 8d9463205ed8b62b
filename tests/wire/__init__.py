"""The wire: reading what SDKs send, the byte-exact vectors, and signatures that the official Python SDK checks."""
