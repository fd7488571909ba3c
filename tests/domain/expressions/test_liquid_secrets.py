"""Secrets in templates: shown whole and in known forms, or refused when the graph is sent and when it is rendered."""

from collections.abc import Iterator

import pytest

from domain.expressions.liquid_secrets import NOT_WHOLE, SecretsNotWhole, SecretTexts
from domain.expressions.liquid_templates import compile_template
from tests.domain.graphs.test_expression_roots import call
from tests.support.graphs import find_problems, graph

VALUE = "correct-horse"


class Kept(SecretTexts):
    """One secret, and what is shown of it."""

    def __init__(self) -> None:
        """Start with nothing shown."""
        self.heard: list[str] = []

    def __getitem__(self, name: str) -> str:
        return {"a": VALUE, "b": VALUE}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["a", "b"])

    def __len__(self) -> int:
        return 2

    def show(self, text: str) -> None:
        self.heard.append(text)


WHOLE = [
    "Bearer {{ secrets.a }}",
    "{{ secrets.a | url_encode }}",
    "{{ secrets['a'] | json }}",
    "{{ 'ana:' | append: secrets.a | base64_encode }}",
    "{{ secrets.a | append: ':' | append: secrets.b | base64_encode }}",
    "{% if inputs.x %}{{ secrets.a }}{% else %}{{ secrets.b }}{% endif %}",
    "{% for x in inputs.l %}{{ x | upcase }}{{ secrets.a | escape }}{% endfor %}",
    "{% liquid\necho secrets.a %}",
    "{% capture c %}x{% endcapture %}{{ c | slice: 0 }}{{ secrets.a }}",
]
IN_PART = [
    "{{ secrets.a | slice: 0, 4 }}",
    "{{ secrets.a | split: '' | join: '-' }}",
    "{{ secrets.a | base64_encode | slice: 0, 4 }}",
    "{{ 'x' | replace: 'x', secrets.a }}",
    "{{ secrets.a.size }}",
    "{{ secrets.a[0] }}",
    "{{ secrets.a.first }}",
    "{{ secrets[0] }}",
    "{{ secrets }}",
    "{{ secrets | json }}",
    "{{ secrets[inputs.which] }}",
    "{{ inputs[secrets.a] }}",
    "{{ secrets[secrets.a] }}",
    "{% if secrets.a contains 'a' %}1{% endif %}",
    "{% unless secrets.a == 'a' %}1{% endunless %}",
    "{% case secrets.a %}{% when 'a' %}1{% endcase %}",
    "{% case inputs.x %}{% when secrets.a %}1{% endcase %}",
    "{% for x in secrets %}{{ x[1] }}{% endfor %}",
    "{% for x in secrets.a %}{{ x }}-{% endfor %}",
    "{% for x in (1..secrets.a.size) %}.{% endfor %}",
    "{{ (1..secrets.a) }}",
    "{{ (secrets.a..inputs.x) | json }}",
    "{% ifchanged %}{{ secrets.a }}{% endifchanged %}",
    "{% tablerow x in secrets %}{{ x }}{% endtablerow %}",
    "{% assign s = secrets.a %}{{ s | slice: 0 }}",
    "{% capture s %}{{ secrets.a }}{% endcapture %}{{ s | slice: 0 }}",
    "{% capture s %}{% if inputs.x %}{{ secrets.a }}{% endif %}{% endcapture %}{{ s | slice: 0 }}",
    "{% cycle secrets.a, 'b' %}",
    "{% liquid\nassign s = secrets.a\necho s | slice: 0 %}",
]
DATA = {"inputs": {"x": True, "l": [1], "which": "a", VALUE: "y"}}


@pytest.mark.parametrize("template", WHOLE)
def test_a_secret_may_be_shown_whole(template: str) -> None:
    kept = Kept()
    text = compile_template(template).render({**DATA, "secrets": kept})
    assert kept.heard, "what was shown can be cut out again"
    assert kept.heard[-1] in text
    assert find_problems(graph(call(headers={"X": template}))) == {}


@pytest.mark.parametrize("name", ["size", "first"])
def test_what_the_library_makes_of_all_secrets_is_refused(name: str) -> None:
    with pytest.raises(SecretsNotWhole):
        compile_template(f"{{{{ secrets.{name} | append: '' }}}}").render({"secrets": Kept()})


def test_what_each_filter_makes_of_a_secret_is_heard() -> None:
    kept = Kept()
    compile_template("{{ 'ana:' | append: secrets.a | base64_encode | json }}").render({"secrets": kept})
    coded = "YW5hOmNvcnJlY3QtaG9yc2U="
    assert kept.heard == [f"ana:{VALUE}", coded, f'"{coded}"', f'"{coded}"']


@pytest.mark.parametrize("template", IN_PART)
def test_a_secret_in_part_is_refused_when_the_graph_is_sent(template: str) -> None:
    found = find_problems(graph(call(headers={"X": template})))
    assert found == {"/nodes/0/config/headers/X": NOT_WHOLE}


@pytest.mark.parametrize("template", IN_PART)
def test_a_graph_that_was_sent_before_is_refused_when_it_is_rendered(template: str) -> None:
    kept = Kept()
    with pytest.raises(SecretsNotWhole):
        compile_template(template).render({**DATA, "secrets": kept})
    assert kept.heard == []


def test_a_name_of_the_templates_own_is_no_secret() -> None:
    own = compile_template("{% assign secrets = inputs.which %}{{ secrets | upcase }}")
    assert own.render(DATA) == "A"
