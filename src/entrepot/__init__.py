"""Entrepot: a private registry for container images and OCI artifacts."""
