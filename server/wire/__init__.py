"""The translation between the wire and plain values: requests in, replies and signed licenses out. Decides nothing."""
