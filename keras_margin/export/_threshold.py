"""Whether a file carries an operating threshold: only one that rests on enough people and impostor pairs."""

from keras_margin.evaluation import verification
from keras_margin.evaluation.verification import FEWEST_ACCEPTED

# Below so many people the file carries no threshold; below so many more it carries one that says what it is.
FEWEST_PEOPLE, FEW_PEOPLE = 10, 100


def refusal(far, num_impostor, num_people):
    """Returns why a threshold is not shipped, a sentence; None where it is.

    Args:
        far: Target FAR of the threshold, in (0, 1].
        num_impostor: Impostor pairs that it was measured on.
        num_people: People on them; None where the pairs do not tell.

    Returns:
        str or None.
    """
    if num_people is not None and num_people < FEWEST_PEOPLE:
        return f"No threshold: {num_people} people are too few to choose one on, {FEWEST_PEOPLE} are the least."
    if not verification.is_measurable(far, num_impostor):
        return (
            f"No threshold: FAR {far:g} on {num_impostor:,} impostor pairs lets fewer than "
            f"{FEWEST_ACCEPTED} of them pass. Give more pairs, or a FAR of at least "
            f"{verification.least_far(num_impostor):g}."
        )
    return None


def basis(num_impostor, num_people):
    """Returns what a shipped threshold rests on, a phrase for the metadata.

    Example:
        >>> basis(4500, 10)
        '4,500 impostor pairs of 10 people: enough for a demonstration; choose one on people of your own'
    """
    pairs = f"{num_impostor:,} impostor pairs"
    if num_people is None:
        return f"{pairs} of people who are not named"
    few = "enough for a demonstration; choose one on people of your own"
    return f"{pairs} of {num_people:,} people" + (f": {few}" if num_people < FEW_PEOPLE else "")
