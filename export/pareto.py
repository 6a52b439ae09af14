"""Which of many trade-offs are worth looking at."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other point beats: of those at least as good in both, none is better in one.

    Args:
        points: Cost and gain of each point; a lower cost and a higher gain are better.

    Returns:
        Places of the front's points, from the lowest cost to the highest. Equal points are on it together.
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1])):
        # Whatever came before costs no more, so only a higher gain, or the same point again, is not beaten.
        if not front or points[place][1] > points[front[-1]][1] or points[place] == points[front[-1]]:
            front.append(place)
    return front
