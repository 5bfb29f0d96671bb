"""Runs and their records as rows and columns, and as files of these."""
