"""Templates and files into responses, under a policy that runs no script and no style but ours."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

import jinja2
from fastapi import Response
from fastapi.responses import HTMLResponse

from trunkline_transcripts.console.pages import figures, timeline, waterfall
from trunkline_transcripts.console.problems import Kind, ProblemError

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that, forms would be sent with the origin null (Fetch: Origin header).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def _read(folder: str) -> dict[str, bytes]:
    files: Traversable = resources.files("trunkline_transcripts.console.pages").joinpath(folder)
    return {file.name: file.read_bytes() for file in files.iterdir() if file.is_file()}


# All of it once, at the start: a few files, and no request ever waits for a disk.
_STATIC: Final = _read("static")
VERSION: Final = hashlib.sha256(b"".join(_STATIC[name] for name in sorted(_STATIC))).hexdigest()[:12]
"""Part of every static file's address, so browsers may keep them for ever."""

_templates: Final = jinja2.Environment(
    loader=jinja2.DictLoader({name: text.decode() for name, text in _read("templates").items()}),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_templates.filters |= {
    "moment": figures.moment,
    "length_of": figures.length,
    "ms": figures.milliseconds,
    "bare_ms": figures.bare_milliseconds,
    "clock": figures.clock,
    "clock_s": lambda at_ms: figures.clock(at_ms).partition(".")[0],
    "arguments": figures.arguments,
    "next_day": lambda day: day + timedelta(days=1),
    "doubled": lambda words: [(word, word) for word in words],
    "usd": figures.usd,
    "count": figures.count,
    "anchor": lambda name, kind: timeline.anchor(kind, name),
    "unheard": timeline.unheard_text,
    "percent": lambda value: f"{value:.3f}%",
}
_templates.globals |= {
    "static": f"/static/{VERSION}",
    "parts": waterfall.PARTS,
    "budget_ms": waterfall.BUDGET_MS,
}


def page(
    template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """Return a page; whatever is in `values` becomes text, never markup."""
    text = _templates.get_template(template).render(values)
    # What was said stays out of every cache.
    return HTMLResponse(text, status, {**HEADERS, "Cache-Control": "no-store", **(headers or {})})


def static_file(version: str, name: str) -> Response:
    """Return a script, a style or a picture; raise `ProblemError` when there is none."""
    if name not in _STATIC:
        raise ProblemError(Kind.NO_PAGE)
    # A page of another version, during an upgrade, gets what there is, and does not keep it.
    kept = "public, max-age=31536000, immutable" if version == VERSION else "no-store"
    return Response(
        _STATIC[name],
        media_type=MEDIA_TYPES[name.rpartition(".")[2]],
        headers={**HEADERS, "Cache-Control": kept},
    )
