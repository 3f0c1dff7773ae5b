"""`/api/v1`, from outside."""
