"""Templates: Liquid over a run's data, as written in prompts, addresses, headers and bodies.

`python-liquid` bounds nesting, output and stored variables. This module adds what a run needs beyond that: no clock
(a run always renders the same text), no other files, and the step's budget of work for loops and filters together.
Undefined names are faults, except where the author tests for them: in `if`/`unless`/`case` and with `default`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import ClassVar, Final, TextIO, cast

from liquid import BoundTemplate, Environment, Expression, FalsyStrictUndefined, Node, RenderContext, Token, Undefined
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.logical import ContainsExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.static_analysis import TemplateAnalysis
from liquid.stringify import to_liquid_string
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from domain.expressions.budget import ITEMS_PER_WORK, Budget, measure_work
from domain.expressions.common import ExpressionFault, translate_errors
from domain.expressions.compiled_sources import CompiledSources
from domain.expressions.liquid_filters import estimate_product, format_date, format_json, measure_size, strip_html
from domain.expressions.liquid_plain import compile_plain_parts, render_plain
from domain.expressions.liquid_secrets import (
    SECRETS,
    SecretsNotWhole,
    SecretTexts,
    find_secret_outputs,
)

LONGEST_TEMPLATE = 65_536
LONGEST_OUTPUT = 2_000_000
LONGEST_LOOP = 10_000
FILTER_COST = 20
WORK_PER_TAG = 100
"""Compiling one output or tag: about 50 µs."""


class Template:
    """A compiled template.

    `nodes` and `inputs` are what it certainly names as `steps.<id>` and `inputs.<name>`; `roots` are the names that it
    certainly expects in its data, without those that it assigns itself. `parts_secrets`: it uses a secret other than as
    a whole, and is not given any (`liquid_secrets`).
    """

    __slots__ = ("_bound", "_plain_parts", "_source", "inputs", "nodes", "parts_secrets", "roots")

    def __init__(
        self,
        source: str,
        bound: "_BoundTemplate | None",
        *,
        nodes: frozenset[str],
        inputs: frozenset[str],
        roots: frozenset[str],
    ) -> None:
        """Bind a source to its parsed form, None where it is plain text; use `compile_template`."""
        self._source = source
        self._bound = bound
        self._plain_parts = None if bound is None else compile_plain_parts(bound.nodes)
        self.nodes = nodes
        self.inputs = inputs
        self.roots = roots
        self.parts_secrets = bound is not None and not _shows_secrets(bound)

    def render(self, data: Mapping[str, object], budget: Budget | None = None) -> str:
        """Return the text. Raises ExpressionFault on undefined names, errors and exceeded bounds; TooMuchWork."""
        if self._bound is None:
            return self._source
        plain = None if self._plain_parts is None else render_plain(self._plain_parts, data)
        if plain is not None:
            return plain
        with translate_errors("Liquid"):
            return self._bound.render_within(data, budget or Budget())


def _compile_template(source: str) -> Template:
    """Compile Liquid. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source) > LONGEST_TEMPLATE:
        raise ExpressionFault(f"Liquid: the template is too long. Limit: {LONGEST_TEMPLATE} characters")
    if "{{" not in source and "{%" not in source:
        return Template(source, None, nodes=frozenset(), inputs=frozenset(), roots=frozenset())
    with translate_errors("Liquid"):
        parsed = _environment().from_string(source, globals=None, matter={_SOURCE_LENGTH: len(source)})
        bound = cast("_BoundTemplate", parsed)
        analysis = bound.analyze(include_partials=False)
        _refuse_unknown_filters(bound, analysis)
        _refuse_long_ranges(bound)
        nodes, inputs = _named_below(analysis, "steps"), _named_below(analysis, "inputs")
        return Template(source, bound, nodes=nodes, inputs=inputs, roots=_roots(analysis))


def _weigh(source: str) -> int:
    """Return the memory of a compiled template: 1.5 KB for each tag."""
    return 4_096 + 4 * len(source) + 2_048 * (source.count("{{") + source.count("{%"))


_compiled: Final = CompiledSources(_compile_template, weigh=_weigh)


def compile_template(source: str) -> Template:
    """Return compiled Liquid. Raises ExpressionFault with the reason when it cannot be used."""
    return _compiled(source)


_SOURCE_LENGTH = "source_length"


def render_template(source: str, data: Mapping[str, object], budget: Budget) -> str:
    """Compile and render a template, and charge for both. Raises ExpressionFault, TooMuchWork."""
    budget.charge((source.count("{{") + source.count("{%")) * WORK_PER_TAG)
    return compile_template(source).render(data, budget)


class _Absent(FalsyStrictUndefined):
    """An undefined name: false when tested, replaced by `default`, and a fault for any other use."""

    force_liquid_default = True


class _Context(RenderContext):
    """A render context without a clock, and with a budget of work."""

    __slots__ = ("budget", "known_work", "may_show", "secrets")

    def __init__(self, template: BoundTemplate, *, globals: Mapping[str, object] | None = None) -> None:  # noqa: A002  # the library's name
        super().__init__(template, globals=globals)
        # The library's own chain also holds `now` and `today`.
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)
        self.budget = Budget()
        self.known_work: dict[int, int] = {}
        self.may_show = False
        self.secrets: SecretTexts | None = None

    def charge_items(self, count: int) -> None:
        """Charge for characters or list items that the library handles one by one. Raises TooMuchWork."""
        self.budget.charge(count // ITEMS_PER_WORK)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """Resolve a name, and charge for its value: `if` and `case` may compare all of it with another."""
        secrets = self.scope.get(SECRETS) if path[0] == SECRETS else None
        if isinstance(secrets, SecretTexts):
            if not self.may_show:
                raise SecretsNotWhole
            self.secrets = secrets
        value = super().get(path, token=token, default=default)
        if isinstance(secrets, SecretTexts) and not isinstance(value, (str, Undefined)):
            raise SecretsNotWhole  # the library's own `size` and `first`, of all of them
        if _may_be_large(value):
            known = self.known_work.get(id(value))
            if known is None:
                known = self.known_work[id(value)] = measure_work(value, max(0, self.budget.left))
            self.budget.charge(known)
        return value

    def raise_for_loop_limit(self, length: int = 1) -> None:
        super().raise_for_loop_limit(length)
        source_length = self.template.matter.get(_SOURCE_LENGTH)
        # The body of a loop is at most the whole source, so this bounds the nodes rendered.
        self.charge_items(length * (source_length if isinstance(source_length, int) else 1))

    def assign(self, key: str, val: object) -> None:
        self.charge_items(len(self.locals) + (measure_size(val) if isinstance(val, range) else 1))
        super().assign(key, val)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        apply = super().filter(name, token)

        def apply_and_charge(*values: object, **named: object) -> object:
            sizes = [measure_size(value) for value in (*values, *named.values())]
            self.charge_items(FILTER_COST + sum(sizes) + estimate_product(name, values, sizes))
            result = apply(*values, **named)
            self.charge_items(measure_size(result))
            if self.secrets is not None:
                self.secrets.show(to_liquid_string(result, autoescape=False))
            return result

        return apply_and_charge


class _BoundTemplate(BoundTemplate):
    context_class = _Context

    def render_within(self, data: Mapping[str, object], budget: Budget) -> str:
        """Render as the library does, charging the budget."""
        context = _Context(self, globals=self.make_globals(data))
        context.budget = budget
        buffer = self._get_buffer()
        self.render_with_context(context, buffer)
        return buffer.getvalue()


class _JsonOutputNode(OutputNode):
    """An output statement that writes lists and objects as JSON; the library would write Python literals."""

    may_show = False
    """Whether the output may read secrets."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self._evaluate(context)
        text = (
            format_json(cast("object", value))
            if isinstance(value, (dict, list))
            else to_liquid_string(value, autoescape=False)
        )
        if isinstance(context, _Context):
            context.charge_items(len(text))
            if context.secrets is not None:
                context.secrets.show(text)
                context.secrets = None
        return buffer.write(text)

    def _evaluate(self, context: RenderContext) -> object:
        if isinstance(context, _Context):
            context.may_show = self.may_show
        try:
            return self.expression.evaluate(context)
        finally:
            if isinstance(context, _Context):
                context.may_show = False


class _JsonEchoNode(_JsonOutputNode, EchoNode):
    """The `echo` tag as such an output."""


class _JsonOutput(Output):
    node_class = _JsonOutputNode


class _JsonEcho(EchoTag):
    node_class = _JsonEchoNode


class _Environment(Environment):
    """The Liquid dialect of runs."""

    context_depth_limit: ClassVar[int] = 20
    loop_iteration_limit: ClassVar[int | None] = LONGEST_LOOP
    local_namespace_limit: ClassVar[int | None] = LONGEST_OUTPUT
    output_stream_limit: ClassVar[int | None] = LONGEST_OUTPUT
    template_class: type[BoundTemplate] = _BoundTemplate


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = _Environment(undefined=_Absent)
    for tag in ("include", "render"):
        del environment.tags[tag]
    environment.add_tag(_JsonOutput)
    environment.add_tag(_JsonEcho)
    environment.add_filter("date", format_date)
    environment.add_filter("json", format_json)
    environment.add_filter("strip_html", strip_html)
    return environment


def _may_be_large(value: object) -> bool:
    return isinstance(value, (str, list, dict))


def _refuse_unknown_filters(bound: BoundTemplate, analysis: TemplateAnalysis) -> None:
    for name in analysis.filters:
        if name not in bound.env.filters:
            raise ExpressionFault(f"Liquid: unknown filter '{name}'")


def _refuse_long_ranges(bound: BoundTemplate) -> None:
    """Raise ExpressionFault for ranges that nothing else bounds.

    For `for i in (1..n) reversed` the library builds the whole list before it checks the loop limit; for
    `(1..n) contains 'x'` it walks all of the range.
    """
    for expression in _expressions(bound.nodes, RenderContext(bound)):
        if isinstance(expression, LoopExpression) and expression.reversed:
            if isinstance(expression.iterable, RangeLiteral):
                raise ExpressionFault("Liquid: a range cannot be `reversed`; loop over the range without it")
        elif isinstance(expression, ContainsExpression) and isinstance(expression.left, RangeLiteral):
            raise ExpressionFault("Liquid: `contains` does not accept a range; compare with `>=` and `<=`")


def _expressions(nodes: Iterable[Node], context: RenderContext) -> Iterator[Expression]:
    for node in nodes:
        yield from _with_parts(node.expressions())
        yield from _expressions(node.children(context, include_partials=False), context)


def _with_parts(expressions: Iterable[Expression]) -> Iterator[Expression]:
    pending = list(expressions)
    while pending:
        expression = pending.pop()
        yield expression
        pending.extend(expression.children())


def _shows_secrets(bound: BoundTemplate) -> bool:
    """Allow outputs to read secrets; return False, and allow none, where the template names a secret elsewhere."""
    try:
        showing = list(find_secret_outputs(bound.nodes, RenderContext(bound)))
    except SecretsNotWhole:
        return False
    for node in showing:
        if isinstance(node, _JsonOutputNode):
            node.may_show = True
    return True


def _named_below(analysis: TemplateAnalysis, root: str) -> frozenset[str]:
    named = [variable.segments for variable in analysis.globals.get(root, [])]
    seconds = [segments[1] for segments in named if len(segments) > 1]
    return frozenset(segment for segment in seconds if isinstance(segment, str))


def _roots(analysis: TemplateAnalysis) -> frozenset[str]:
    """Return the names that come from the data; a name that the template assigns anywhere counts as its own.

    Order does not matter: a loop may read what its previous iteration assigned further down.
    """
    firsts = (variable.segments[0] for variables in analysis.globals.values() for variable in variables)
    return frozenset(name for name in firsts if isinstance(name, str) and name not in analysis.locals)
