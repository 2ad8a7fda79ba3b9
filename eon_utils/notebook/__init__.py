"""What a notebook shows: figures, scrubbers, tables, claims."""
