"""Work spread over processes: in order, and not too far ahead."""

import pytest

from curation.parallel import ordered_map


def doubled(item):
    return 2 * item


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(ordered_map(doubled, range(500), workers=workers)) == list(range(0, 1000, 2))


@pytest.mark.parametrize(("weight", "farthest"), [(0, 8 * 2 * 16), (1 << 30, 200)])
def test_fewer_heavy_items_are_drawn_ahead(weight, farthest):
    drawn = 0

    def items():
        nonlocal drawn
        for item in range(600):
            drawn += 1
            yield item

    results = ordered_map(doubled, items(), workers=2, ahead=8, weigh=lambda _: weight)
    ahead = [drawn - given for given, _ in enumerate(results)]
    # 200 are drawn before it is clear whether processes are worth it
    assert max(ahead) == farthest


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match=r"workers is 0; it must be 1 or more"):
        list(ordered_map(doubled, range(3), workers=0))
