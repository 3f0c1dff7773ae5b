"""People in a directory service."""
