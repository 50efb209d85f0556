"""Parts of a report that are reused as long as nothing that they read has changed."""
