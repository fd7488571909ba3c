"""Names at the top of what expressions see: wrong ones are told where that is certain, and nothing else is refused."""

import msgspec
import pytest

from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import compile_template
from domain.graphs.compiled import compile_graph
from domain.workflow import Workflow, WorkflowCreated, evolve
from tests.support.graphs import CHILD, Json, edge, find_problems, graph, human, node, prompt


def transform(expression: str) -> Json:
    return node(config={"expression": expression})


def call(**config: object) -> Json:
    return node(kind="http", config={"url": "https://a", **config})


def build_map_node(**config: object) -> Json:
    return node(kind="map", config={"workflow_id": CHILD, "items": "inputs.list", **config})


RUN = "Supported: inputs, steps, run; did you mean inputs?"
WRONG = [
    (transform("input.x"), "/nodes/0/config/expression", RUN),
    (transform("{a: inputs.a, b: input.b}"), "/nodes/0/config/expression", RUN),
    (transform("length(input)"), "/nodes/0/config/expression", RUN),
    (transform("input[?price < `10`].name | [0]"), "/nodes/0/config/expression", RUN),
    (transform("@.input.x"), "/nodes/0/config/expression", RUN),
    (transform("inputs.a || input.b"), "/nodes/0/config/expression", RUN),
    (
        prompt(template="{{ input.x }}"),
        "/nodes/0/config/template",
        "Supported: inputs, steps, run, variables; did you mean inputs?",
    ),
    (prompt(template="{% if input.x %}{% endif %}"), "/nodes/0/config/template", "did you mean inputs?"),
    (prompt(template="{{ inputs.x | default: variable.y }}"), "/nodes/0/config/template", "did you mean variables?"),
    (prompt(variables={"v": "variables.a"}), "/nodes/0/config/variables/v", "Unknown name 'variables'"),
    (human(instructions="{{ output }}"), "/nodes/0/config/instructions", "Unknown name 'output'"),
    (human(shows={"a": "step.b.output"}), "/nodes/0/config/shows/a", "did you mean steps?"),
    (call(headers={"X": "{{ secret.key }}"}), "/nodes/0/config/headers/X", "did you mean secrets?"),
    (node(kind="delay", config={"until": "{{ until }}"}), "/nodes/0/config/until", "Unknown name 'until'"),
    (build_map_node(items="item.list"), "/nodes/0/config/items", "Unknown name 'item'"),
    (build_map_node(inputs={"a": "items"}), "/nodes/0/config/inputs/a", "steps, run, item, index; did you mean item?"),
]


@pytest.mark.parametrize(("config", "pointer", "said"), WRONG)
def test_an_unknown_name_is_reported_with_the_supported_names_and_the_nearest(
    config: Json, pointer: str, said: str
) -> None:
    found = find_problems(graph(config))
    assert list(found) == [pointer]
    assert said in found[pointer]


def test_a_condition_says_the_nearest_name_too() -> None:
    found = find_problems(graph(node(), node("b"), edges=[edge("a", "b", when="input.x == 1")]))
    assert found == {
        "/edges/0/when": "CEL: 'input' is unknown, a condition sees inputs and steps; did you mean inputs?"
    }


@pytest.mark.parametrize(
    "template",
    [
        "{% assign a = inputs.b %}{{ a }}",
        "{% if inputs.x %}{% assign a = 1 %}{% endif %}{{ a | default: 2 }}",
        "{% capture c %}x{% endcapture %}{{ c }}",
        "{% for x in inputs.l %}{% if seen %}, {% endif %}{{ x.y }}{% assign seen = true %}{% endfor %}",
        "{% for x in inputs.l %}{{ forloop.index }}{{ x }}{% else %}none{% endfor %}",
        "{% for x in inputs.l %}{% for y in x %}{{ forloop.parentloop.index }}{{ y }}{{ x }}{% endfor %}{% endfor %}",
        "{% tablerow i in inputs.l %}{{ i }}{{ tablerowloop.col }}{% endtablerow %}",
        "{% increment n %}{{ n }}{% decrement m %}{{ m }}",
        '{{ ["inputs"].x }}{{ [inputs.name] | default: 1 }}',
        "{% if inputs.a == empty or inputs.b == blank or inputs.c == nil or true %}{% endif %}",
        "{% liquid assign q = 1\n echo q %}",
        "{% comment %}{{ zz }}{% endcomment %}{% raw %}{{ yy }}{% endraw %}",
        '{% cycle "a", "b" %}{{ variables.x | where: "key", steps.a.output }}',
    ],
)
def test_names_that_a_template_makes_itself_are_its_own(template: str) -> None:
    assert compile_template(template).roots <= {"inputs", "steps", "variables"}


@pytest.mark.parametrize(
    "query",
    [
        "inputs.items[?price < `10`].{name: name, price: price}",
        "sort_by(inputs.items, &price)",
        "inputs.a | b.c",
        "inputs.stories[].title",
        "inputs.*.name",
        "inputs[0].x[1:2].y",
        "*.output",
        "@",
        "keys(@)",
        "@.inputs.a",
        "{item: inputs.a}.item",
        "[inputs.a, steps.b.output][0].c",
        "map(&name, inputs.l)",
        "max_by(inputs.l, &age).name",
        "!inputs.a && steps.b.output == 'x'",
        "'item'",
        '`{"item": 1}`.item',
        "[].name",
        "inputs.a.{b: c}",
        "(inputs.a || steps.b).c",
        "to_array(inputs.a)[].b",
    ],
)
def test_names_that_are_relative_to_a_part_of_the_data_are_no_roots(query: str) -> None:
    assert compile_query(query).roots <= {"inputs", "steps"}


@pytest.mark.parametrize(
    ("query", "nodes"),
    [
        ("steps.a.output", {"a"}),
        ("@.steps.b", {"b"}),
        ("steps.*.output", set[str]()),
        ("[steps.a, steps.b.c]", {"a", "b"}),
    ],
)
def test_nodes_are_named_however_the_path_begins(query: str, nodes: set[str]) -> None:
    assert compile_query(query).nodes == nodes


def test_a_graph_that_was_stored_before_names_were_judged_still_folds_and_can_be_run() -> None:
    raw = graph(transform("input.x"), node("b"), edges=[edge("a", "b", when="inputs.x == 1")])
    stored = msgspec.json.encode(WorkflowCreated(name="old", graph=raw))
    workflow = evolve(Workflow(), msgspec.json.decode(stored, type=WorkflowCreated))
    assert find_problems(raw)
    assert list(compile_graph(workflow.graph).nodes) == ["a", "b"]
    assert compile_query("input.x").apply({"inputs": {"x": 1}, "steps": {}}) is None
    assert compile_template("{{ input.x | default: 'none' }}").render({"inputs": {}, "steps": {}}) == "none"
