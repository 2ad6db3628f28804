"""Property tests assert numbers, never times: the first call of a torch function can take seconds on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
