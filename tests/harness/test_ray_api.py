"""What is read of a job."""

import pytest

from harness import ray_api


def test_what_ray_itself_says_after_a_job_is_no_answer_of_it() -> None:
    log = '[1.5]\n{"lost": []}\n(raylet) The node with address 10.0.0.1 is gone.\n\n'
    assert ray_api.last_json(log) == {"lost": []}


def test_job_that_printed_no_json_is_an_error_with_its_log() -> None:
    with pytest.raises(ray_api.JobError, match="nothing of use"):
        ray_api.last_json("nothing of use")
