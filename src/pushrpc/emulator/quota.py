"""Rate limits as the providers keep them: a bucket per key that refills steadily."""

from __future__ import annotations

KEYS_MAX = 200_000
"""Buckets remembered; the least recently made is forgotten first, which forgives its key."""


class Quota:
    """`per_minute` units a key, at once or spread out; 0 = no limit. Buckets refill continuously, not by the clock."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._levels: dict[str, tuple[float, int]] = {}

    def spend(self, key: str, now_us: int) -> float:
        """Takes one unit. 0.0 when there was one, else the seconds until there is."""
        if self.per_minute <= 0:
            return 0.0
        level, then_us = self._levels.get(key, (self.per_minute, now_us))
        level = min(self.per_minute, level + (now_us - then_us) * self.per_minute / 60e6)
        taken = level >= 1
        if key not in self._levels and len(self._levels) >= KEYS_MAX:
            del self._levels[next(iter(self._levels))]
        self._levels[key] = (level - 1 if taken else level, now_us)
        return 0.0 if taken else (1 - level) * 60 / self.per_minute

    def clear(self) -> None:
        self._levels.clear()
