"""How every paper is rendered: cards, pages and notes share one way to read templates and fail on what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2


def environment(*, html: bool, **filters: Callable[..., Any]) -> jinja2.Environment:
    """The templates of `pipeline/templates`; foreign text is escaped where `html`. A name nobody gave is an error.

    >>> environment(html=True).from_string("{{ text }}").render(text="<b>")
    '&lt;b&gt;'
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=html,
    )
    made.filters.update(filters)
    return made
