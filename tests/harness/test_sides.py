"""How a comparison of two sides is counted."""

from harness import sides


def test_stages_last_from_one_end_to_the_next() -> None:
    took = sides.stages(("a", "b"), 10.0, {"a": 11.5, "b": 14.0})
    assert took == {"a": 1.5, "b": 2.5, "total": 4.0}


def test_stage_that_was_over_before_its_forerunner_took_no_time() -> None:
    took = sides.stages(("a", "b", "c"), 0.0, {"a": 3.0, "b": 2.0, "c": 4.0})
    assert took == {"a": 3.0, "b": 0.0, "c": 1.0, "total": 4.0}


def test_the_one_that_goes_first_changes_each_round() -> None:
    both = (sides.OURS, sides.KUBERAY)
    assert [next(sides.turn(both, number)) for number in (1, 2, 3)] == [*both, sides.OURS]


def test_samples_of_a_case_stay_together() -> None:
    samples: sides.Samples = {}
    sides.add(samples, {"a": 1.0, "b": 2.0})
    sides.add(samples, {"a": 3.0, "b": 4.0})
    assert samples == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
