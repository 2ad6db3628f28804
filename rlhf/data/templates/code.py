"""How templates are compiled: with a count of their loops' turns, and with `{% generation %}` understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser


class Counting(CodeGenerator):
    """Has loops and macros report their turns, and `~` what it joins."""

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        node.body.insert(0, _turn(node))
        super().visit_For(node, frame)

    def macro_body(self, node: Any, frame: Frame) -> Any:
        node.body.insert(0, _turn(node))
        return super().macro_body(node, frame)

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:
        told = node.node.items if isinstance(node.node, nodes.Tuple) else []
        if len(told) == 2 and isinstance(told[0], nodes.EnvironmentAttribute) and isinstance(told[1], nodes.Const):
            self.writeline(f"environment.turn({told[1].value})")
        else:
            super().visit_ExprStmt(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def _turn(node: nodes.Node) -> nodes.ExprStmt:
    """A statement that `Counting` writes as a plain call; through the sandbox, each would cost microseconds."""
    written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
    written += sum(len(const.value) for const in node.find_all(nodes.Const) if isinstance(const.value, str))
    return nodes.ExprStmt(nodes.Tuple([nodes.EnvironmentAttribute("turn"), nodes.Const(written)], "load"))


class Generation(Extension):
    """`{% generation %}` marks what an assistant said for those who want to know; here it writes what is in it."""

    tags = {"generation"}  # noqa: RUF012 (the attribute is Jinja's)

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(lineno)

    def written(self, caller: Callable[[], str]) -> str:
        return caller()
