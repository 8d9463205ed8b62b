"""The official SDKs, unmodified, against a live server; and what the SDKs that are not run here put on the wire."""
