"""DAR itself, pure: dialogue -> reformulation and imagination -> one query -> hits. Read `rewriting` first."""
