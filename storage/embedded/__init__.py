"""PostgreSQL and Valkey as private child processes; what is kept in them: storage.postgres and storage.redis."""
