"""YAML as Kubernetes reads it."""

from collections.abc import Iterator
from typing import Any

import yaml


class _Loader(yaml.CSafeLoader):
    """PyYAML's loader without what Kubernetes does not know, and with what it refuses."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping = loader.construct_mapping(node, deep=True)
    if len(mapping) != len(node.value):
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        raise yaml.constructor.ConstructorError(
            problem=f"{', '.join(twice)} occurs twice in one map", problem_mark=node.start_mark
        )
    return mapping


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# To PyYAML these are no text where they stand as a plain value: `=`, a date, `<<`.
for _tag in ("value", "timestamp", "merge"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _text)


def load_all(text: str) -> Iterator[Any]:
    """The documents in `text` that are not empty. Raises yaml.YAMLError, also for equal keys."""
    return (document for document in yaml.load_all(text, _Loader) if document)
