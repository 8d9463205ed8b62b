"""PostgreSQL: the record of everything. SQL stands in files below `sql/`, never in strings."""
