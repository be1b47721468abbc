"""Runs counters: which jobs, where, and what is kept of earlier ones."""
