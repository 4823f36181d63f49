"""The stub of the compiled part names what is there, no more and no less."""

import ast
import inspect
from pathlib import Path

import kdump
from kdump import _kdump

STUB = Path(kdump.__file__).with_name("_kdump.pyi")


def public(names):
    return {name for name in names if not name.startswith("_")}


def stubbed():
    """The classes and functions of the stub, with the argument names of each function."""
    found = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                one.name: one for one in node.body if isinstance(one, ast.FunctionDef)
            }
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = node
    return found


def arguments(node):
    return [one.arg for one in [*node.args.posonlyargs, *node.args.args]]


def test_the_stub_is_the_module():
    found = stubbed()
    assert public(found) == public(dir(_kdump))
    for name in public(found):
        real = getattr(_kdump, name)
        if isinstance(found[name], dict):
            assert public(found[name]) == public(vars(real)), name
        else:
            assert arguments(found[name]) == list(inspect.signature(real).parameters), name


def test_methods_have_the_arguments_of_the_stub():
    for name, methods in stubbed().items():
        if not isinstance(methods, dict):
            continue
        for method in public(methods):
            real = getattr(getattr(_kdump, name), method)
            if callable(real):
                expected = list(inspect.signature(real).parameters)
                assert arguments(methods[method]) == expected, f"{name}.{method}"


def test_everything_has_a_docstring():
    for name in public(dir(_kdump)):
        real = getattr(_kdump, name)
        assert inspect.getdoc(real), name
        if inspect.isclass(real):
            for method in public(vars(real)):
                assert inspect.getdoc(getattr(real, method)), f"{name}.{method}"
