"""Makes calls with the `together` package of the Python that runs it; nothing of tunelog is near.

Each line of standard input is the Python expression of {"asynchronous", "calls", and the options of
a client}, where a call is (path of the method, positional arguments, keyword arguments). Each is
answered with a line that is the JSON list of what came of the calls: {"type", "value"} or {"error",
"message", "status", "body"}. A warning counts as an error.
"""

import asyncio
import datetime
import importlib
import inspect
import json
import sys
import warnings
from typing import Any

together = importlib.import_module("together")
NAMES = {"datetime": datetime}
"""What an expression may hold beside literals."""


async def make(client: Any, method: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    """What comes of one call."""
    function = client
    for name in method.split("."):
        function = getattr(function, name)
    try:
        response = function(*arguments, **options)
        if inspect.isawaitable(response):
            response = await response
        return {"type": type(response).__name__, "value": response.to_dict(mode="json")}
    except Exception as error:
        return {
            "error": type(error).__name__,
            "message": str(error),
            "status": getattr(error, "status_code", None),
            "body": getattr(error, "body", None),
        }


async def answer(calls: list[Any], *, asynchronous: bool, **options: Any) -> list[Any]:
    """What comes of the calls, made one after the other with one client."""
    if asynchronous:
        async with together.AsyncTogether(**options) as client:
            return [await make(client, *call) for call in calls]
    with together.Together(**options) as client:
        return [await make(client, *call) for call in calls]


warnings.simplefilter("error")
for line in sys.stdin:
    print(json.dumps(asyncio.run(answer(**eval(line, NAMES)))), flush=True)
