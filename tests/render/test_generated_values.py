"""Whatever the schema allows is rendered into objects that conform, or refused with a reason.

Values are generated from the schema, over the chart's own keys. `HYPOTHESIS_PROFILE=thorough` tries
many more of them. (hypothesis-jsonschema does not run with today's Hypothesis.)
"""

import json
import math
import os
from typing import Any

import jsonschema_rs
from hypothesis import Phase, assume, given, note, settings
from hypothesis import strategies as st

from harness.helm import TemplateError, template

from .leaves import SCHEMA, VALUES, Leaf, entries, leaves, merged, nested, resolve, types
from .objects import Object

# Each attempt to make a failure smaller starts Helm: not where somebody waits for the result.
settings.register_profile(
    "ci", max_examples=60, derandomize=True, deadline=None, database=None, phases=[Phase.generate]
)
settings.register_profile("thorough", max_examples=3000, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

OWN = [leaf for leaf in leaves() if not leaf.kubernetes and leaf.path != ("workerGroups",)]
REFUSAL = "The values contradict each other in "
VALIDATOR = jsonschema_rs.Draft7Validator(SCHEMA)


def allowed_by(schema: Object) -> st.SearchStrategy[Any]:
    """Values that `schema` allows, as far as type, pattern, limits and required keys say."""
    schema = resolve(schema)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.one_of(*(_of_type(kind, schema) for kind in types(schema)))


def _of_type(kind: str, schema: Object) -> st.SearchStrategy[Any]:
    limits: dict[str, Any] = {
        "min_value": schema.get("minimum"),
        "max_value": schema.get("maximum"),
    }
    items = st.deferred(lambda: allowed_by(schema.get("items", {"type": "string"})))
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "array": st.lists(items, min_size=schema.get("minItems", 0), max_size=3),
        "boolean": st.booleans(),
        "integer": st.integers(**limits),
        "null": st.none(),
        "number": st.one_of(st.integers(**limits), st.floats(**limits).filter(math.isfinite)),
        "object": st.deferred(lambda: _map(schema)),
        "string": st.deferred(lambda: _text(schema)),
    }
    return strategies[kind]


def _text(schema: Object) -> st.SearchStrategy[str]:
    # To Python a `$` also matches before a last newline, to Helm only at the end.
    pattern = schema.get("pattern", "").removesuffix("$")
    texts = st.from_regex(pattern + r"\Z") if pattern else st.text(max_size=99)
    return texts.filter(lambda text: len(text) <= schema.get("maxLength", len(text)))


def _map(schema: Object) -> st.SearchStrategy[Object]:
    required = schema.get("required", [])
    fields = {name: allowed_by(field) for name, field in schema.get("properties", {}).items()}
    known = st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )
    pattern, others = entries(schema)
    if not isinstance(others, dict):
        return known
    keys = _text({"pattern": pattern})
    free = st.dictionaries(keys, allowed_by(others), max_size=3)
    return st.builds(lambda one, two: two | one, known, free)


def change(leaf: Leaf) -> st.SearchStrategy[Object]:
    """Documents that set this one value; one of `worker` may be set in a group instead."""
    paths = [leaf.path]
    if leaf.path[0] == "worker":
        paths += [("workerGroups", group, *leaf.path[1:]) for group in ("default", "spot")]
    values = allowed_by(leaf.schema).filter(leaf.allows)
    return st.builds(nested, st.sampled_from(paths), values)


CHANGES = st.sampled_from(OWN).flatmap(change)


@st.composite
def documents(draw: st.DrawFn) -> Object:
    """Values documents with one to four changes that the schema as a whole allows."""
    document: Object = {}
    for one in draw(st.lists(CHANGES, min_size=1, max_size=4)):
        document = merged(document, one)
    assume(VALIDATOR.is_valid(merged(VALUES, document)))
    return document


@given(documents())
def test_allowed_values_conform_or_are_refused_with_a_reason(values: Object) -> None:
    note(json.dumps(values))
    try:
        template(values)
    except TemplateError as refused:
        if REFUSAL not in refused.message:
            raise
