"""Pure: YAML that knows where everything stands, so that a problem can name its line."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

Location = tuple[str | int, ...]
"""Keys and positions that lead from the root to a field."""


class UnreadableError(ValueError):
    """The bytes are no YAML of plain values; the text goes behind the file's name: `:12: found …` or `: is not …`."""


def read(content: bytes) -> tuple[Any, Node | None]:
    """Return the values, and the node that knows their lines (None for an empty file); raise `UnreadableError`."""
    # YAML 1.2, plain values only: no tag makes an object.
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(content.decode())
        return None if root is None else yaml.constructor.construct_document(root), root
    except UnicodeDecodeError:
        raise UnreadableError(": is not UTF-8 text") from None
    except YAMLError as error:
        raise UnreadableError(_problem(error)) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        # What the library raises for a tag on something else (`!!bool maybe`, `!!float` on nothing), for a date
        # that does not exist, and for a thousand nested brackets.
        raise UnreadableError(": holds a tag, a date or a nesting that cannot be read") from None


def line_of(root: Node, location: Location) -> int:
    """Return the line, from 1, of a field or of the deepest part of its path that the file has."""
    node, line = root, root.start_mark.line
    for part in location:
        if isinstance(node, MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def dotted(location: Location) -> str:
    """Return a path as people count: `numbers[1]` is the first number."""
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem(error: YAMLError) -> str:
    """Return ":line: what", without the excerpt of the file that the library adds."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return ": holds a character that YAML does not allow"
    # "found duplicate key "greeting" with value "…""
    what = str(error.problem).partition(" with value ")[0]
    return f":{error.problem_mark.line + 1}: {what}"
