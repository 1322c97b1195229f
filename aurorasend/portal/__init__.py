"""What tells developers about the API: all of it made from the declarations of the endpoints."""

from aurorasend.portal.pages import routes

__all__ = ["routes"]
