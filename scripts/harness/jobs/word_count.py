"""Counts the words of Python's standard library on the workers, and once more in one process.

Every node has the same files, since all run one image. The last line printed is the result as
JSON: `words`, `words_single_process`, `equal` (each word's count, not only the sum), `files`,
`seconds` (the time the tasks took together) and `tasks_per_node` (pod name -> finished tasks).
"""

import collections
import json
import os
import pathlib
import re
import sysconfig
import time

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SHARDS = 64
HEAD = "node:__internal_head__"  # a resource that only the head has

Words = collections.Counter[str]


def sources() -> list[str]:
    """The standard library's files, in an order that is the same on every node."""
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    return sorted(str(path) for path in library.rglob("*.py"))


def count(paths: list[str]) -> Words:
    """How often each word stands in the files `paths`."""
    words: Words = collections.Counter()
    for path in paths:
        words.update(re.findall(r"\w+", pathlib.Path(path).read_text(errors="replace")))
    return words


@ray.remote(num_cpus=1)
def count_shard(shard: int) -> tuple[str, Words]:
    """The pod this task ran in, and the words of every SHARDS-th file from `shard` on."""
    return os.environ["POD_NAME"], count(sources()[shard::SHARDS])


def main() -> None:
    """Run the job."""
    ray.init()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    # A cluster without workers has its tasks run on the head.
    workers = [node["NodeID"] for node in nodes if HEAD not in node["Resources"]] or [
        node["NodeID"] for node in nodes
    ]
    began = time.monotonic()
    # Soft: a worker that leaves meanwhile must not take the job with it.
    results = ray.get(
        [
            count_shard.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(
                    workers[shard % len(workers)], soft=True
                )
            ).remote(shard)
            for shard in range(SHARDS)
        ]
    )
    seconds = time.monotonic() - began
    together: Words = sum((words for _, words in results), start=collections.Counter())
    files = sources()
    alone = count(files)
    report = {
        "words": together.total(),
        "words_single_process": alone.total(),
        "equal": together == alone,
        "files": len(files),
        "seconds": round(seconds, 3),
        "tasks_per_node": dict(collections.Counter(node for node, _ in results)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
