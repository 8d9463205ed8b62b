"""Load tests: what the server does per second, beside what the machine could do at most, audited after every run."""
