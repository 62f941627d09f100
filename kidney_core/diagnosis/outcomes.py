"""What comes of a prediction: each outcome, what it is called, and the words before its label."""

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a slice or of a scan; audit logs and structured reports store its value."""

    ANSWERED = "answered"
    UNDECIDED = "undecided"
    MEMORY = "memory"
    NO_KIDNEY = "no kidney"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    PENDING = "pending"


# Outcome -> what pages and tables call it.
NAMES = {
    Outcome.ANSWERED: "answered",
    Outcome.UNDECIDED: "abstains",
    Outcome.MEMORY: "seen in training",
    Outcome.NO_KIDNEY: "no kidney visible",
    Outcome.REFUSED: "out of distribution",
    Outcome.UNREADABLE: "unreadable",
    Outcome.PENDING: "not predicted yet",
}
# The outcomes without a label -> what is said instead of it.
NO_PREDICTION = {
    Outcome.NO_KIDNEY: "No prediction: no kidney visible",
    Outcome.REFUSED: "No prediction: out of distribution",
    Outcome.PENDING: "No prediction yet: reading was stopped",
}
_LEADS = {
    Outcome.ANSWERED: "Predicted",
    Outcome.UNDECIDED: "The model abstains. Its most likely label is",
    Outcome.MEMORY: "This scan was seen in training. Predicted",
    Outcome.NO_KIDNEY: "No kidney is visible, so do not trust this. Predicted",
    Outcome.REFUSED: "Out of distribution, so do not trust this. Predicted",
}


def outcome_of(*, no_kidney: bool, refused: bool, seen: bool, abstains: bool) -> Outcome:
    """The outcome that the checks lead to; the first that holds outranks those after it."""
    if no_kidney:
        return Outcome.NO_KIDNEY
    if refused:
        return Outcome.REFUSED
    if seen:
        return Outcome.MEMORY
    return Outcome.UNDECIDED if abstains else Outcome.ANSWERED


def lead(outcome: Outcome, *, abstains: bool) -> str:
    """The words before the label of a slice or of a scan: how the prediction is to be taken."""
    if outcome == Outcome.MEMORY and abstains:
        return "This scan was seen in training, and the model still abstains. Its most likely label is"
    return _LEADS[outcome]
