"""Templates: Liquid over a run's data, as written in prompts, addresses, headers and bodies.

`python-liquid` bounds nesting, output and stored variables. This module adds what a run needs beyond that: no clock
(the same run renders the same text for ever), no other files, and one budget of work for loops and filters together.
Undefined names are faults, except where an author plainly asks: in `if`/`unless`/`case` and with `default`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import ClassVar, TextIO, cast

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

from domain.expressions.budget import MOST_TEMPLATE_WORK, Budget, TooMuchWork
from domain.expressions.common import ExpressionFault, translate_errors
from domain.expressions.jmespath_cost import is_large_kind, work_of
from domain.expressions.liquid_filters import as_date, as_json, multiplied_work, size_of
from domain.expressions.liquid_plain import compile_plain_parts, render_plain
from domain.expressions.liquid_secrets import (
    SECRETS,
    SecretsNotWhole,
    SecretTexts,
    outputs_of_whole_secrets,
)

LONGEST_TEMPLATE = 65_536
LONGEST_OUTPUT = 2_000_000
LONGEST_LOOP = 10_000
FILTER_COST = 20


class Template:
    """A compiled template.

    `nodes` are the node ids that it certainly names as `steps.<id>`; `roots` are the names that it certainly expects
    to be given, less those that it makes itself. `parts_secrets`: it is not given any, as `expressions_secrets` says.
    """

    __slots__ = ("_bound", "_plain_parts", "_source", "nodes", "parts_secrets", "roots")

    def __init__(
        self, source: str, bound: "_BoundTemplate | None", *, nodes: frozenset[str], roots: frozenset[str]
    ) -> None:
        """Bind a source to its parsed form, None where it is plain text; use `compile_template`."""
        self._source = source
        self._bound = bound
        self._plain_parts = None if bound is None else compile_plain_parts(bound.nodes)
        self.nodes = nodes
        self.roots = roots
        self.parts_secrets = bound is not None and not _shows_secrets(bound)

    def render(self, data: Mapping[str, object], budget: Budget | None = None) -> str:
        """Give the text. Raises ExpressionFault on undefined names, on errors, and over the bounds; TooMuchWork."""
        if self._bound is None:
            return self._source
        plain = None if self._plain_parts is None else render_plain(self._plain_parts, data)
        if plain is not None:
            return plain
        with translate_errors("Liquid"):
            return self._bound.render_within(data, budget or Budget())


@lru_cache(maxsize=1024)
def compile_template(source: str) -> Template:
    """Compile Liquid. Raises ExpressionFault with the reason when it cannot be used."""
    if len(source) > LONGEST_TEMPLATE:
        raise ExpressionFault(f"Liquid: a template has at most {LONGEST_TEMPLATE} characters")
    if "{{" not in source and "{%" not in source:
        return Template(source, None, nodes=frozenset(), roots=frozenset())
    with translate_errors("Liquid"):
        parsed = _environment().from_string(source, globals=None, matter={_SOURCE_LENGTH: len(source)})
        bound = cast("_BoundTemplate", parsed)
        analysis = bound.analyze(include_partials=False)
        _refuse_unknown_filters(bound, analysis)
        _refuse_long_ranges(bound)
        return Template(source, bound, nodes=_named_nodes(analysis), roots=_roots(analysis))


_SOURCE_LENGTH = "source_length"


class _Absent(FalsyStrictUndefined):
    """An undefined name: false when tested, replaced by `default`, and a fault for any other use."""

    force_liquid_default = True


class _Context(RenderContext):
    """A render context without a clock, and with a budget of work."""

    __slots__ = ("known_work", "may_show", "secrets", "work_left")

    def __init__(self, template: BoundTemplate, *, globals: Mapping[str, object] | None = None) -> None:  # noqa: A002  # the library's name
        super().__init__(template, globals=globals)
        # The library's own chain also holds `now` and `today`.
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)
        self.work_left = MOST_TEMPLATE_WORK
        self.known_work: dict[int, int] = {}
        self.may_show = False
        self.secrets: SecretTexts | None = None

    def charge(self, work: int) -> None:
        """Take work off the budget. Raises TooMuchWork when none is left."""
        self.work_left -= work
        if self.work_left < 0:
            raise TooMuchWork("Liquid: the template does too much work")

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """Give what a name stands for, and charge for it: `if` and `case` may compare it with another, whole."""
        secrets = self.scope.get(SECRETS) if path[0] == SECRETS else None
        if isinstance(secrets, SecretTexts):
            if not self.may_show:
                raise SecretsNotWhole
            self.secrets = secrets
        value = super().get(path, token=token, default=default)
        if isinstance(secrets, SecretTexts) and not isinstance(value, (str, Undefined)):
            raise SecretsNotWhole  # the library's own `size` and `first`, of all of them
        if is_large_kind(value):
            known = self.known_work.get(id(value))
            if known is None:
                known = self.known_work[id(value)] = work_of(value)
            self.charge(known)
        return value

    def raise_for_loop_limit(self, length: int = 1) -> None:
        super().raise_for_loop_limit(length)
        source_length = self.template.matter.get(_SOURCE_LENGTH)
        # The body of a loop is at most the whole source, so this bounds the nodes rendered.
        self.charge(length * (source_length if isinstance(source_length, int) else 1))

    def assign(self, key: str, val: object) -> None:
        self.charge(len(self.locals) + (size_of(val) if isinstance(val, range) else 1))
        super().assign(key, val)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        apply = super().filter(name, token)

        def charged(*values: object, **named: object) -> object:
            sizes = [size_of(value) for value in (*values, *named.values())]
            self.charge(FILTER_COST + sum(sizes) + multiplied_work(name, values, sizes))
            result = apply(*values, **named)
            self.charge(size_of(result))
            if self.secrets is not None:
                self.secrets.show(to_liquid_string(result, autoescape=False))
            return result

        return charged


class _BoundTemplate(BoundTemplate):
    context_class = _Context

    def render_within(self, data: Mapping[str, object], budget: Budget) -> str:
        """Render as the library does, with the work that a budget has for one template."""
        context = _Context(self, globals=self.make_globals(data))
        context.work_left = budget.template_work
        buffer = self._get_buffer()
        self.render_with_context(context, buffer)
        return buffer.getvalue()


class _JsonOutputNode(OutputNode):
    """An output statement that writes lists and objects as JSON, where the library would write Python."""

    may_show = False
    """Whether it may look at secrets."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self._evaluated(context)
        text = (
            as_json(cast("object", value))
            if isinstance(value, (dict, list))
            else to_liquid_string(value, autoescape=False)
        )
        if isinstance(context, _Context):
            context.charge(len(text))
            if context.secrets is not None:
                context.secrets.show(text)
                context.secrets = None
        return buffer.write(text)

    def _evaluated(self, context: RenderContext) -> object:
        if isinstance(context, _Context):
            context.may_show = self.may_show
        try:
            return self.expression.evaluate(context)
        finally:
            if isinstance(context, _Context):
                context.may_show = False


class _JsonEchoNode(_JsonOutputNode, EchoNode):
    """The same for the `echo` tag."""


class _JsonOutput(Output):
    node_class = _JsonOutputNode


class _JsonEcho(EchoTag):
    node_class = _JsonEchoNode


class _Environment(Environment):
    """Liquid as runs use it."""

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
    environment.add_filter("date", as_date)
    environment.add_filter("json", as_json)
    return environment


def _refuse_unknown_filters(bound: BoundTemplate, analysis: TemplateAnalysis) -> None:
    for name in analysis.filters:
        if name not in bound.env.filters:
            raise ExpressionFault(f"Liquid: there is no filter '{name}'")


def _refuse_long_ranges(bound: BoundTemplate) -> None:
    """Refuse ranges where nothing else bounds them.

    Of `for i in (1..n) reversed` the library makes the whole list before it checks the loop limit, and it looks through
    all of `(1..n) contains 'x'`.
    """
    for expression in _expressions(bound.nodes, RenderContext(bound)):
        if isinstance(expression, LoopExpression) and expression.reversed:
            if isinstance(expression.iterable, RangeLiteral):
                raise ExpressionFault("Liquid: a range cannot be reversed")
        elif isinstance(expression, ContainsExpression) and isinstance(expression.left, RangeLiteral):
            raise ExpressionFault("Liquid: a range cannot be looked through with contains")


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
    """Let outputs look at secrets; tell whether the template names none elsewhere, in which case none may."""
    try:
        showing = list(outputs_of_whole_secrets(bound.nodes, RenderContext(bound)))
    except SecretsNotWhole:
        return False
    for node in showing:
        if isinstance(node, _JsonOutputNode):
            node.may_show = True
    return True


def _named_nodes(analysis: TemplateAnalysis) -> frozenset[str]:
    named = [variable.segments for variable in analysis.globals.get("steps", [])]
    seconds = [segments[1] for segments in named if len(segments) > 1]
    return frozenset(segment for segment in seconds if isinstance(segment, str))


def _roots(analysis: TemplateAnalysis) -> frozenset[str]:
    """Give the names that come from outside; one that the template assigns anywhere may be its own everywhere.

    A loop may read what an earlier turn of it assigned, further down: so order says nothing.
    """
    firsts = (variable.segments[0] for variables in analysis.globals.values() for variable in variables)
    return frozenset(name for name in firsts if isinstance(name, str) and name not in analysis.locals)
