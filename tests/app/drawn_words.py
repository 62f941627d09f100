"""Which words the pages hand to Streamlit as Markdown, read from their source, and which of them may be markup.

Words are safe where they are written in the source, are numbers, or went through `markdown.text`, `code` or `cells`. All
else may be a name from a file, a person or another machine. Local variables and functions of the same module are followed.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tests.conftest import ROOT

# Arguments of Streamlit's elements that are drawn as Markdown. Source: their docstrings, and StreamlitMarkdown.tsx.
_WORDS = re.compile("body|label|title|help|captions?|text|value|delta|delta_description|tabs|data|show_spinner")
_PLAIN = re.compile(  # arguments that are drawn as they are, or are no words
    r"(text_input|text_area|slider|select_slider|number_input|toggle|checkbox|progress)\.value"
    r"|(download_button|image)\.data|text\.body"
)
_OPTIONS = re.compile(
    "radio|pills|segmented_control|menu_button"
)  # whose options are Markdown too; those of a selectbox are not
_ELEMENTS = re.compile(
    "markdown|caption|title|header|subheader|text|latex|write|badge|error|warning|info|success|toast|metric|image|table|tabs|progress"
    "|(download_|form_submit_|link_|menu_)?button|page_link|popover|expander|status|spinner|dialog|Page|navigation|cache_(data|resource)"
    "|radio|pills|segmented_control|checkbox|toggle|selectbox|multiselect|slider|select_slider|text_input|text_area"
    "|number_input|file_uploader|dataframe|data_editor|feedback|chat_(input|message)|(camera|audio|date|time|datetime)_input|color_picker"
)
_COLUMNS = re.compile(r"\w*Column")  # of column_config: only their help is Markdown
_PASSED_ON = {"start_page": {"lead"}}  # arguments of our own that are Markdown: looked at where they are given
_ESCAPES = re.compile(r"markdown\.(text|code|cells)|(tables\.)?drawn")  # of kidney_core.app
_NUMBERS = re.compile("percent(_range)?|with_interval|p_value|quantity|duration|len|int|float|round|sum")
_WORD_METHODS = re.compile("capitalize|lower|upper|strip|replace|join|items|values|get|format")
_NUMBER_FORMAT = re.compile(r"[+,.\d]*[deEfFgGn%,]")
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*|__version__")


@dataclass(frozen=True)
class Unsafe:
    """Words that may be markup: where they are drawn, and as what they stand in the source."""

    where: str
    words: str

    def __str__(self) -> str:
        return f"{self.where}: {self.words}"


def sources() -> list[Path]:
    """Every file that draws."""
    return [
        ROOT / "streamlit_app.py",
        *sorted((ROOT / "pages").glob("*.py")),
        *sorted((ROOT / "kidney_core/app").glob("*.py")),
    ]


def unsafe_words(source: str, name: str) -> list[Unsafe]:
    """What a module hands to Streamlit as Markdown without saying that it is text."""
    module = _Module(ast.parse(source))
    drawn = [(call, words, scope) for call, scope in module.calls() for words in module.drawn(call)]
    found = [(call, words) for call, words, scope in drawn if not module.is_safe(words, scope)]
    return [
        *(Unsafe(f"{name}:{call.lineno}", ast.unparse(words)) for call, words in found),
        *(Unsafe(f"{name}:{line}", f"{words} is passed on") for line, words in module.elements_passed_on()),
    ]


@functools.cache
def _parameters(element: str) -> list[str]:
    return list(inspect.signature(getattr(st, element)).parameters)


_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
Scope = tuple[ast.AST, ...]  # functions and comprehensions, from the outermost


class _Module:
    """One module: its calls, its functions, and whether an expression in it can only be words of its own."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.functions = {each.name: each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        imported = (each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom | ast.Import))
        self.modules = {alias.asname or alias.name for each in imported for alias in each.names} - {"st"}
        self.looked_at: set[tuple[int, str]] = set()  # names that are being resolved

    def calls(self) -> Iterator[tuple[ast.Call, Scope]]:
        yield from self._calls(self.tree, ())

    def _calls(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
        if isinstance(node, (ast.FunctionDef, ast.Lambda, *_COMPREHENSIONS)):
            scope = (*scope, node)
        if isinstance(node, ast.Call):
            yield node, scope
        for child in ast.iter_child_nodes(node):
            yield from self._calls(child, scope)

    def drawn(self, call: ast.Call) -> Iterator[ast.expr]:
        """The arguments of a call that are drawn as Markdown, and for options what makes words of them."""
        if not isinstance(call.func, ast.Attribute):
            return
        element, owner = call.func.attr, call.func.value
        given = {each.arg: each.value for each in call.keywords if each.arg}
        if element in _PASSED_ON:
            yield from call.args[2:]
            yield from (words for argument, words in given.items() if argument in _PASSED_ON[element])
        if _COLUMNS.fullmatch(element) and "help" in given:
            yield given["help"]
        if not _ELEMENTS.fullmatch(element) or (isinstance(owner, ast.Name) and owner.id in self.modules):
            return
        given |= dict(zip(_parameters(element), call.args, strict=False))
        if element == "write" and ast.unparse(owner) == "st":
            yield from call.args
        for argument, words in given.items():
            if _WORDS.fullmatch(argument) and not _PLAIN.fullmatch(f"{element}.{argument}"):
                yield words
        if _OPTIONS.fullmatch(element) and "options" in given:
            yield given.get("format_func", given["options"])

    def elements_passed_on(self) -> Iterator[tuple[int, str]]:
        """Elements that are called under another name, where nobody sees what they draw."""
        called = {id(each.func) for each in ast.walk(self.tree) if isinstance(each, ast.Call)}
        for each in ast.walk(self.tree):
            is_element = isinstance(each, ast.Attribute) and bool(_ELEMENTS.fullmatch(each.attr.removeprefix("cache_")))
            if is_element and ast.unparse(each.value) == "st" and id(each) not in called:
                yield each.lineno, ast.unparse(each)

    def is_safe(self, words: ast.expr, scope: Scope) -> bool:
        """Whether an expression is words of the source, a number, or text that was made safe."""
        match words:
            case ast.Constant():
                return True
            case ast.JoinedStr(values=values):
                return _is_code_well(values) and all(self.is_safe(value, scope) for value in values)
            case ast.FormattedValue(value=value, format_spec=spec):
                return _is_number_format(spec) or self.is_safe(value, scope)
            case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right) if _is_number(left) or _is_number(right):
                return True
            case ast.BinOp(left=left, right=right):
                return self.is_safe(left, scope) and self.is_safe(right, scope)
            case ast.Compare():
                return True
            case ast.Starred(value=value):
                return self.is_safe(value, scope)
            case ast.IfExp(body=body, orelse=orelse):
                return self.is_safe(body, scope) and self.is_safe(orelse, scope)
            case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.List(elts=values):
                return all(self.is_safe(value, scope) for value in values)
            case ast.ListComp(elt=elt) | ast.GeneratorExp(elt=elt):
                return self.is_safe(elt, (*scope, words))
            case ast.Subscript(value=value):
                return _is_constant(value) or self.is_safe(value, scope)
            case ast.Attribute():
                return _is_constant(words) or _is_constant(words.value) or _is_escape(words)
            case ast.Name(id=name):
                return bool(_CONSTANT.fullmatch(name)) or self._is_safe_name(name, scope)
            case ast.Lambda(body=body):
                return self.is_safe(body, (*scope, words))
            case ast.Call():
                return self._is_safe_call(words, scope)
        return False

    def _is_safe_call(self, call: ast.Call, scope: Scope) -> bool:
        called = call.func
        if _is_escape(called):
            return True
        if isinstance(called, ast.Attribute):
            if _WORD_METHODS.fullmatch(called.attr) and self.is_safe(called.value, scope):
                given = call.args[1:] if called.attr == "get" else call.args  # what is looked up is not drawn
                return all(self.is_safe(each, scope) for each in given)
            if called.attr == "nonbreaking":
                return self.is_safe(call.args[0], scope)
            return bool(_NUMBERS.fullmatch(called.attr))
        if not isinstance(called, ast.Name):
            return False
        if called.id in ("list", "tuple", "sorted"):
            return self._are_safe_members(call.args[0], scope)
        if _NUMBERS.fullmatch(called.id):
            return True
        return called.id in self.functions and self._returns_safe(self.functions[called.id])

    def _are_safe_members(self, words: ast.expr, scope: Scope) -> bool:
        """Whether the members of a sequence are safe; of a dictionary written out, its keys."""
        if isinstance(words, ast.Name):
            given = [each for owner in (*scope, self.tree) for each in _given(owner, words.id)]
            if given and all(isinstance(each, ast.Dict) for each in given):
                return all(isinstance(key, ast.Constant) for each in given for key in each.keys)
        return self.is_safe(words, scope)

    def _returns_safe(self, function: ast.FunctionDef) -> bool:
        """Whether all that a function returns is safe, whatever it is given."""
        if isinstance(function.returns, ast.Name) and function.returns.id in ("int", "float", "bool"):
            return True
        if (key := (id(function), "return")) in self.looked_at:
            return True
        self.looked_at.add(key)
        try:
            returned = [each.value for each in ast.walk(function) if isinstance(each, ast.Return) and each.value]
            return bool(returned) and all(self.is_safe(each, (function,)) for each in returned)
        finally:
            self.looked_at.discard(key)

    def _is_safe_name(self, name: str, scope: Scope) -> bool:
        """Whether all that a variable is given is safe; a parameter is only where it is a number."""
        for number in range(len(scope), -1, -1):
            owner: ast.AST = scope[number - 1] if number else self.tree
            if isinstance(owner, ast.FunctionDef | ast.Lambda):
                for argument in (*owner.args.args, *owner.args.kwonlyargs, *owner.args.posonlyargs):
                    if argument.arg == name:
                        is_number = isinstance(argument.annotation, ast.Name) and argument.annotation.id in (
                            "int",
                            "float",
                        )
                        return is_number or name in _PASSED_ON.get(getattr(owner, "name", ""), ())
            values = list(_given(owner, name))
            if values:
                if (key := (id(owner), name)) in self.looked_at:
                    return True
                self.looked_at.add(key)
                try:
                    return all(value is not None and self.is_safe(value, scope[:number]) for value in values)
                finally:
                    self.looked_at.discard(key)
        return False


def _given(owner: ast.AST, name: str) -> Iterator[ast.expr | None]:
    """What a variable is given in a function, comprehension or module; None for what cannot be told."""
    if isinstance(owner, _COMPREHENSIONS):
        for each in owner.generators:
            yield from _looped(each.target, each.iter, name)
        return
    for node in ast.walk(owner):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _matched(target, value, name)
            case ast.AnnAssign(target=target, value=value) if value:
                yield from _matched(target, value, name)
            case ast.AugAssign(target=ast.Name(id=found), value=value) if found == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=found), value=value) if found == name:
                yield value
            case ast.For(target=target, iter=over):
                yield from _looped(target, over, name)
            case ast.withitem(optional_vars=ast.Name(id=found)) if found == name:
                yield None


def _matched(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr | None]:
    if isinstance(target, ast.Name) and target.id == name:
        yield value
    elif isinstance(target, ast.Tuple):
        parts = (
            value.elts
            if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            else [None] * len(target.elts)
        )
        for each, part in zip(target.elts, parts, strict=True):
            if part is not None:
                yield from _matched(each, part, name)
            elif any(isinstance(found, ast.Name) and found.id == name for found in ast.walk(each)):
                yield None


def _looped(target: ast.expr, over: ast.expr, name: str) -> Iterator[ast.expr | None]:
    """What a loop gives to a variable: over rows written out, over several sequences side by side, over a constant."""
    if isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and isinstance(target, ast.Tuple):
        if over.func.id == "enumerate":
            yield from _matched(target.elts[0], ast.Constant(0), name)
            yield from _looped(target.elts[1], over.args[0], name)
            return
        if over.func.id == "zip":
            for each, sequence in zip(target.elts, over.args, strict=True):
                yield from _looped(each, sequence, name)
            return
    if isinstance(over, ast.Tuple | ast.List):
        for row in over.elts:
            yield from _matched(target, row, name)
    elif isinstance(target, ast.Name) and target.id == name:
        yield over if _is_constant(over) or isinstance(over, ast.Name | ast.IfExp) else None
    elif any(isinstance(found, ast.Name) and found.id == name for found in ast.walk(target)):
        of = over.func.value if isinstance(over, ast.Call) and isinstance(over.func, ast.Attribute) else over
        yield ast.Constant("") if _is_constant(of) else None


def _is_constant(node: ast.expr) -> bool:
    """A constant of this or another module, or a part of one."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) if _CONSTANT.fullmatch(name):
            return True
        case ast.Subscript(value=value) | ast.Attribute(value=value):
            return _is_constant(value)
    return False


def _is_escape(node: ast.expr) -> bool:
    return bool(_ESCAPES.fullmatch(ast.unparse(node)))


def _is_number(node: ast.expr) -> bool:
    """A number written in the source: what is added to it is one as well."""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_number_format(spec: ast.expr | None) -> bool:
    return (
        isinstance(spec, ast.JoinedStr)
        and len(spec.values) == 1
        and isinstance(spec.values[0], ast.Constant)
        and bool(_NUMBER_FORMAT.fullmatch(str(spec.values[0].value)))
    )


def _is_code_well(values: list[ast.expr]) -> bool:
    """Whether nothing is put between backticks, where `text` would show its backslashes: that is what `code` is for."""
    n_ticks = 0
    for value in values:
        if isinstance(value, ast.Constant):
            n_ticks += str(value.value).count("`")
        elif n_ticks % 2:
            return False
    return True
