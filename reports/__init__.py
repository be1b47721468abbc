"""Why they differ: reconciliations, documents, and what a person reads."""
