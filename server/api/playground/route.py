"""``GET /``: the playground, one page of files that lie beside this one.

Everything comes from this server: the content security policy lets the page load nothing else and
talk to nobody else. It needs no key itself; what it asks the endpoint is let in, or not, as any
other request.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

_FOLDER = Path(__file__).parent
_TYPES = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
    }
)
_HEADERS = MappingProxyType(
    {
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-cache",
    }
)


def page_files() -> Mapping[str, Path]:
    """Every file of the page by its path below ``/playground/``."""
    return MappingProxyType(
        {
            path.relative_to(_FOLDER).as_posix(): path
            for path in sorted(_FOLDER.rglob("*"))
            if path.suffix in _TYPES
        }
    )


def playground_router() -> APIRouter:
    """The page's routes; its files are read once, here."""
    router = APIRouter(include_in_schema=False)
    contents = {name: path.read_bytes() for name, path in page_files().items()}

    @router.get("/")
    async def playground() -> Response:
        """The page."""
        return _answer("index.html", contents["index.html"])

    @router.get("/playground/{name:path}")
    async def playground_file(name: str) -> Response:
        """One of its files."""
        if name not in contents:
            raise HTTPException(status_code=404)
        return _answer(name, contents[name])

    return router


def _answer(name: str, content: bytes) -> Response:
    return Response(content, headers={**_HEADERS, "content-type": _TYPES[Path(name).suffix]})
