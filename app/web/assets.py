"""The page's own JavaScript, served as it lies in `app/ui/js`."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

import app.ui

FOLDER = Path(app.ui.__file__).parent
_MODULES = {path.name: path for path in (FOLDER / "js").glob("*.js")}


def make_routes() -> list[Route]:
    """Returns the route of the modules; a name that is not one of them is not found."""

    def answer(request: Request) -> Response:
        path = _MODULES.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("Not found", 404)
        # Revalidated by ETag: an update of the app must not meet yesterday's script.
        return FileResponse(path, 200, {"cache-control": "no-cache"}, "text/javascript")

    return [Route("/ui/js/{name}", answer, methods=["GET"])]
