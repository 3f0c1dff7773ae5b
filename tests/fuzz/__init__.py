"""Hostile and accidental input over the wire: generated names, ranges, requests, bytes."""
