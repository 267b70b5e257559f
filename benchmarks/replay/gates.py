"""Gates: an expression over a replay's figures that ends the command with a status of its own.

The grammar is a small part of Python's: numbers, names of figures, ``+ - * /``, comparisons,
``and``, ``or``, ``not``, parentheses. Anything else, and a name that is no figure, is an error
before anything is sent. A figure that could not be computed fails the gate: what isn't known has
not passed.
"""

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.errors import MeasurementError

EXIT_GATE = 3
"""The exit status of a replay of which a gate's expression holds; 1 is for what can't be run."""

_MAX_CHARS = 500
_ESTIMATES = (
    "auc",
    "auprc",
    "balanced_accuracy",
    "recall",
    "specificity",
    "fpr_at_95_recall",
    "ece",
    "brier",
    "no_answer_rate",
)
_RATES = ("offered_per_s", "throughput_per_s", "goodput_per_s", "goodput_share")
_ENDS = ("ok", "refused", "error", "cancelled")
_PERCENTILES = ("p50", "p90", "p95", "p99")

FIGURE_NAMES: tuple[str, ...] = (
    *_ESTIMATES,
    *(f"{name}_{bound}" for name in _ESTIMATES for bound in ("low", "high")),
    "worst_category_recall",
    *_RATES,
    "requests",
    "seconds",
    *_ENDS,
    *(f"{end}_share" for end in _ENDS),
    *(f"{p}_ms" for p in _PERCENTILES),
    *(f"{end}_{p}_ms" for end in _ENDS[1:] for p in _PERCENTILES),
    "from_cache",
    "client_p50_ms",
    "client_p99_ms",
)
"""`auc` and the like, their intervals' ends (`auc_low`), counts and shares by how requests ended,
latencies (`p95_ms` of what was answered, `refused_p95_ms` ...), and the client's own cost."""

_OPERATIONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}
_SIGNS: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
    ast.Not: lambda a: not a,
}


class GateError(MeasurementError):
    """An expression that is none, or names what is no figure; `expression` is what was given."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"--fail-if {expression!r}: {reason}")
        self.expression = expression


class _UnknownFigureError(Exception):
    """A figure that could not be computed."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether a gate failed, and the figures that it is about, in words."""

    expression: str
    is_failed: bool
    because: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A checked expression."""

    expression: str
    _tree: ast.expr

    @property
    def names(self) -> tuple[str, ...]:
        """The figures that it names."""
        found = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        return tuple(dict.fromkeys(found))

    def judge(self, values: Mapping[str, float | None]) -> GateResult:
        """Whether the expression holds of `values`, or can't be told."""
        shown = ", ".join(f"{name} is {_shown(values.get(name))}" for name in self.names)
        try:
            is_failed = bool(_value(self._tree, values))
        except _UnknownFigureError as error:
            return GateResult(self.expression, True, f"{error} is unknown")
        except ZeroDivisionError:
            return GateResult(self.expression, True, f"{shown}: divides by 0")
        return GateResult(self.expression, is_failed, shown)


def read_gate(expression: str) -> Gate:
    """Check an expression; raises `GateError` for what is none and for unknown names."""
    if len(expression) > _MAX_CHARS:
        raise GateError(expression[:40] + "...", f"is longer than {_MAX_CHARS} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        _check(tree, expression)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise GateError(expression, "is no expression") from error
    if not _is_test(tree):
        raise GateError(expression, "compares nothing; say for example `auc < 0.9`")
    return Gate(expression, tree)


def gate_values(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Every figure of a replay's record by the name that gates know it by."""
    accuracy, latency = record["figures"]["accuracy"], record["figures"]["latency"]
    client = record["figures"]["client"] or {}
    values: dict[str, float | None] = {}
    for name in _ESTIMATES:
        values[name] = accuracy[name]["value"]
        values[f"{name}_low"], values[f"{name}_high"] = (
            accuracy[name]["low"],
            accuracy[name]["high"],
        )
    recalls = [one["recall"]["value"] for one in accuracy["by_category"].values()]
    values["worst_category_recall"] = min(recalls, default=None)
    values |= {name: latency[name] for name in (*_RATES, "requests", "seconds", "from_cache")}
    for end in _ENDS:
        found = latency["by_end"][end]
        values[end], values[f"{end}_share"] = found["count"], found["share"]
        for percentile in _PERCENTILES:
            name = f"{percentile}_ms" if end == "ok" else f"{end}_{percentile}_ms"
            values[name] = found["latency_ms"] and found["latency_ms"][percentile]
    values["client_p50_ms"], values["client_p99_ms"] = client.get("p50_ms"), client.get("p99_ms")
    return values


def _check(node: ast.AST, expression: str) -> None:
    match node:
        case ast.Name(id=name):
            if name not in FIGURE_NAMES:
                near = difflib.get_close_matches(name, FIGURE_NAMES, n=3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise GateError(expression, f"{name} is no figure{hint} (`gates` lists them)")
        case ast.Constant(value=value):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise GateError(expression, f"{value!r} is no number")
        case ast.BinOp(op=operator) | ast.UnaryOp(op=operator):
            if type(operator) not in _OPERATIONS and type(operator) not in _SIGNS:
                raise GateError(expression, "has an operator that gates don't know")
            _check_parts(node, expression)
        case ast.Compare(ops=operators):
            if any(type(one) not in _OPERATIONS for one in operators):
                raise GateError(expression, "has an operator that gates don't know")
            _check_parts(node, expression)
        case ast.BoolOp():
            _check_parts(node, expression)
        case _:
            raise GateError(expression, "is more than figures, numbers and comparisons")


def _check_parts(node: ast.AST, expression: str) -> None:
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.expr):
            _check(part, expression)


def _is_test(node: ast.AST) -> bool:
    if isinstance(node, ast.BoolOp):
        return all(_is_test(part) for part in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _is_test(node.operand)
    return isinstance(node, ast.Compare)


def _value(node: ast.AST, values: Mapping[str, float | None]) -> Any:
    match node:
        case ast.Name(id=name):
            found = values.get(name)
            if found is None:
                raise _UnknownFigureError(name)
            return found
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATIONS[type(operator)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=sign, operand=operand):
            return _SIGNS[type(sign)](_value(operand, values))
        case ast.Compare(left=left, ops=operators, comparators=others):
            parts = [_value(one, values) for one in (left, *others)]
            return all(
                _OPERATIONS[type(operator)](a, b)
                for operator, a, b in zip(operators, parts, parts[1:], strict=False)
            )
        case ast.BoolOp(op=operator, values=parts):
            # All parts are looked at: an unknown figure fails the gate wherever it stands.
            told = [bool(_value(part, values)) for part in parts]
            return all(told) if isinstance(operator, ast.And) else any(told)
    raise AssertionError(ast.dump(node))  # `_check` lets nothing else through


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"
