"""What the registry does, one use case a module. Each call is one transaction at most."""
