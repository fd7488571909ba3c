"""Graphs in facts: with every default written out, so that a default of a later version changes no stored graph.

A fact has its graph as plain JSON, not as Structs: a graph that was stored before defaults were written out is read and
written as it is. The fields that such a graph lacks have the defaults of their Structs, which never change.
"""

from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

from domain.graphs.graph import Graph

StoredGraph: TypeAlias = Annotated[dict[str, Any], Meta(extra={"graph": True})]
"""A graph as a fact has it; the tables of topics name it by its mark."""


def write_stored_graph(graph: Graph) -> StoredGraph:
    """Return a graph as it is stored: JSON with every field that is not null.

    A field that is null is not set, in every version. Written out as well, such fields doubled the bytes of a graph.
    """
    return cast("StoredGraph", _write(graph))


def read_stored_graph(stored: StoredGraph) -> Graph:
    """Return the graph of a fact. Raises msgspec.ValidationError for JSON that is no graph."""
    return msgspec.convert(stored, Graph)


def _write(value: object) -> object:
    if isinstance(value, Struct):
        config, kind = value.__struct_config__, type(value)
        written = {str(config.tag_field): cast("object", config.tag)} if config.tag_field is not None else {}
        for name, encoded_name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
            item = cast("object", getattr(value, name))
            if item is not None:
                written[encoded_name] = _write(item)
        return written
    if isinstance(value, tuple):
        return [_write(item) for item in cast("tuple[object, ...]", value)]
    return cast("object", msgspec.to_builtins(value))  # dates, words of enumerations, and JSON of the author
