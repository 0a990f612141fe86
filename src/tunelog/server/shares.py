"""Endpoints of share links."""

from __future__ import annotations

from starlette.responses import Response

from tunelog.errors import Forbidden
from tunelog.server.paths import decoded
from tunelog.server.service import Call
from tunelog.wire import access, catalog


def create_share(call: Call) -> Response:
    """Make a share link, and show its token this once."""
    if not call.principal.may("read"):  # what a key may not read it cannot let others read
        raise Forbidden("this API key lacks the scope read")
    jobs, seconds, name = access.parse_new_share(call.body)
    key_id = call.principal.key.id
    share, token = call.store.create_share(jobs, seconds, name=name, key_id=key_id)
    url = call.request.url
    address = f"{url.scheme}://{url.netloc}/#share={token}"
    answer = _json({**access.share_fields(share), "token": token, "url": address})
    answer.headers["Cache-Control"] = "no-store"
    return answer


def list_shares(call: Call) -> Response:
    """The project's share links, newest first."""
    shares = [access.share_fields(share) for share in call.store.shares()]
    return Response(catalog.listing(shares), media_type="application/json")


def revoke_share(call: Call) -> Response:
    """Make a share link useless."""
    share_id = decoded(call.request.path_params["share"])
    return _json(access.share_fields(call.store.revoke_share(share_id)))


def _json(fields: dict[str, object]) -> Response:
    return Response(catalog.encode(fields), media_type="application/json")
