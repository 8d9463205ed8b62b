"""The rules, without a database: examples named as sentences, and properties."""
