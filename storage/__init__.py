"""Storage: what is known (`records`), what may be asked (`ports`), and the adapters that do it."""
