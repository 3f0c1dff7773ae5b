"""The index: what the registry knows. Queries are functions named by what they answer."""

from entrepot.db.engine import Database, Reader, Transaction
from entrepot.db.errors import DatabaseError, SchemaError

__all__ = ["Database", "DatabaseError", "Reader", "SchemaError", "Transaction"]
