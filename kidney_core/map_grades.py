"""How far a heat map can be trusted: its grades, each with a number and what it means in words."""

from dataclasses import dataclass

GOOD, FAIR, POOR = "good", "fair", "poor"


@dataclass(frozen=True)
class Grade:
    """One property of a map: its title, its value (its unit is told in the reason), how good that is, and why."""

    title: str
    value: float
    outcome: str
    reason: str
