"""The OCI Distribution Specification, section by section, tried on a running registry."""
