"""Properties have no deadline: a busy machine is no fault."""

from hypothesis import settings

settings.register_profile("entrepot-core", deadline=None)
settings.load_profile("entrepot-core")
