"""The browser surface: pages that are made on the server, and need neither scripts nor others."""
