"""The HTTP surface: routes.py is the table of all there is."""
