"""Signing in, tokens for workspaces, tickets, the first admin. Stardag's routes, and OAuth 2.0's for tokens."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ....errors import Invalid, Unauthenticated
from ....web.caller import SESSION_COOKIE, caller_of, cookie_credential, counted, credential_of, from_own_page
from ....web.limit import address_of
from ...operation import FORM, Operation, Query, answer, read_body
from .. import wire
from ..access.browser import UNDER_WAY_S
from ..access.grant import Granted
from ..access.renewal import PREFIX as REFRESH_PREFIX
from ..access.ticket import TICKET_S
from ..workspace.body import check_uuid, known_id
from .entry import enter, row, tenancy_of
from .page import set_up_page

SIGN_IN_COOKIE = "astrarium_sign_in"
AUTH = "/auth"
CALLBACK = AUTH + "/callback"
API = "/api/v1"
NO_STORE = {"cache-control": "no-store"}
REFRESH, CLIENT = "refresh_token", "client_credentials"


def _address(request: Request) -> str:
    """The address clients reach us by."""
    public: str = request.app.state.settings.public_url
    return public.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"


def _kept(request: Request, answered: Response, name: str, value: str, lasts_s: int, path: str = "/") -> Response:
    """The answer, with a cookie pages cannot read and other sites cannot make use of."""
    secure = _address(request).startswith("https://")
    answered.set_cookie(name, value, max_age=lasts_s, path=path, secure=secure, httponly=True, samesite="lax")
    return answered


def _answer(value: Any, status: int = 200) -> Response:
    """What nobody may keep."""
    answered = answer(value, status)
    answered.headers.update(NO_STORE)
    return answered


def _granted(granted: Granted) -> Response:
    return _answer(wire.WorkspaceToken(granted.token, "Bearer", granted.lasts_s, granted.refresh, granted.scope))


# -- what there is -------------------------------------------------------------------------------------------------------


async def get_keys(request: Request) -> Response:
    return answer({"keys": await tenancy_of(request).signers.jwks()})


async def get_ways(request: Request) -> Response:
    tenancy, settings = tenancy_of(request), request.app.state.settings
    if tenancy.provider is not None:
        client = settings.oidc_sdk_client_id or settings.oidc_client_id
        return answer(wire.SignInWays("oidc", tenancy.provider.external, client))
    return answer(wire.SignInWays("local" if settings.auth == "builtin" else "none"))


# -- people --------------------------------------------------------------------------------------------------------------


async def sign_in(request: Request) -> Response:
    tenancy, body = tenancy_of(request), await read_body(request, wire.SignIn)
    name = body.email or body.username
    with counted(request):
        _, token, until = await tenancy.identity.sign_in(name, body.password, address_of(request))
    lasts_s = tenancy.seconds_until(until)
    told = _answer(wire.SignedIn(token, lasts_s))
    return _kept(request, told, SESSION_COOKIE, token, lasts_s) if from_own_page(request.headers) else told


async def begin_sign_in(request: Request) -> Response:
    tenancy = tenancy_of(request)
    url, cookie = await tenancy.browser.begin(_address(request) + API + CALLBACK, request.query_params.get("next", ""))
    return _kept(request, RedirectResponse(url, 303, NO_STORE), SIGN_IN_COOKIE, cookie, UNDER_WAY_S, API + AUTH)


async def finish_sign_in(request: Request) -> Response:
    tenancy = tenancy_of(request)
    cookie = request.cookies.get(SIGN_IN_COOKIE, "")
    with counted(request):
        token, until, path = await tenancy.browser.finish(request.query_params, cookie, address_of(request))
    there = RedirectResponse(path, 303, NO_STORE)
    there.delete_cookie(SIGN_IN_COOKIE, API + AUTH, httponly=True, samesite="lax")
    return _kept(request, there, SESSION_COOKIE, token, tenancy.seconds_until(until))


async def sign_out(request: Request) -> Response:
    tenancy, body = tenancy_of(request), await read_body(request, wire.SignOut, required=False)
    session = tenancy.identity.session_of(credential_of(request.headers) or cookie_credential(request))
    await tenancy.renewals.end(body.refresh_token)
    if session is not None:
        await tenancy.identity.end_session(session)
        await tenancy.renewals.end_all(session)
    gone = Response(status_code=204)
    gone.delete_cookie(SESSION_COOKIE, "/", httponly=True, samesite="lax")
    return gone


async def show_set_up(request: Request) -> Response:
    token = request.query_params.get("token", "")
    await tenancy_of(request).first.check(token)
    return set_up_page(token)


async def set_up(request: Request) -> Response:
    by_page = _is_form(request) and not (await request.body()).lstrip().startswith(b"{")  # JSON sent by `curl -d` is called a form
    body = msgspec.convert(await _form(request), wire.SetUp) if by_page else await read_body(request, wire.SetUp)
    tenancy = tenancy_of(request)
    entry = await tenancy.first.make(body.token, body.username, body.password)
    token, until = await tenancy.identity.begin_session(entry, "set-up link")
    lasts_s = tenancy.seconds_until(until)
    made = RedirectResponse("/", 303, NO_STORE) if by_page else _answer(wire.SignedIn(token, lasts_s), 201)
    return _kept(request, made, SESSION_COOKIE, token, lasts_s)


# -- tokens --------------------------------------------------------------------------------------------------------------


async def exchange(request: Request) -> Response:
    tenancy, given = tenancy_of(request), credential_of(request.headers)
    body = await read_body(request, wire.Exchange)
    workspace = known_id(check_uuid(body.workspace_id, "workspace_id"))
    if given.startswith(REFRESH_PREFIX):
        try:
            return _granted(await tenancy.grants.refresh(given, workspace))
        except Invalid as error:
            raise Unauthenticated(error.message, details={"credential": "token", "expired": True}) from None
    caller = await caller_of(request)
    if caller.confined:
        raise Unauthenticated(
            "Unable to find key with ID: a token for a workspace is not exchanged for another",
            details={"credential": "token", "expired": False},
        )
    session = tenancy.identity.session_of(given or cookie_credential(request)) if body.refresh else None
    return _granted(await tenancy.grants.exchange(caller, workspace, session))


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises `Invalid` (`invalid_request`)."""
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=50)
    except ValueError as error:
        raise Invalid(f"the form cannot be read: {error}", code="invalid_request") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Invalid("a field of the form is there twice", code="invalid_request")
    return fields


def _client_of(request: Request, form: wire.TokenRequest) -> tuple[str, str]:
    """Id and secret of the client: of HTTP basic, each form-encoded (RFC 6749, 2.3.1), else of the form."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.client_id, form.client_secret
    try:
        name, _, secret = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Unauthenticated("the basic credential is not base64", code="invalid_client", challenge="Basic") from None
    return unquote(name), unquote(secret)


async def make_token(request: Request) -> Response:
    if not _is_form(request):
        raise Invalid(f"the body must be a form, {FORM}", code="invalid_request")
    form, grants = await _form(request), tenancy_of(request).grants
    kind = form.get("grant_type", "")
    if kind not in (REFRESH, CLIENT):
        code = "unsupported_grant_type" if kind else "invalid_request"
        raise Invalid(f"grant_type must be {REFRESH} or {CLIENT}", code=code)
    body = msgspec.convert(form, wire.TokenRequest)
    if kind == REFRESH:
        return _granted(await grants.refresh(body.refresh_token))
    with counted(request):
        return _granted(await grants.by_key(*_client_of(request, body), body.scope, address_of(request)))


async def make_ticket(request: Request) -> Response:
    tenancy, caller = await enter(request)
    body = await read_body(request, wire.WantTicket, required=False)
    return _answer(wire.StreamTicket(tenancy.tickets.make(caller, body.capabilities), TICKET_S), 201)


async def rotate_key(request: Request) -> Response:
    tenancy, caller = await enter(request)
    return answer(wire.MadeSigningKey(await tenancy.signers.rotate(caller.actor)), 201)


def _open(method: str, path: str, id_: str, summary: str, act: Any, *failures: int, **more: Any) -> Operation:
    return Operation(method, path, id_, summary, act, failures=failures, **more)


NEXT = Query("next", "Where the browser goes when it is signed in: a path of this server.")
WAYS = _open("GET", AUTH + "/config", "getSignInWays", "How people sign in", get_ways, answer=wire.SignInWays)
EXCHANGE = _open("POST", AUTH + "/exchange", "exchangeToken", "A token for a workspace, for what one signed in with", exchange,
    401, 403, 422, body=wire.Exchange, answer=wire.WorkspaceToken)  # fmt: skip
KEYS = _open("GET", "/.well-known/jwks.json", "getSigningKeys", "The keys our tokens are verified by", get_keys,
    answer=wire.Jwks)  # fmt: skip
OPERATIONS = (
    WAYS, EXCHANGE, KEYS,
    _open("POST", AUTH + "/login", "signIn", "Sign in with a password", sign_in, 401, 422, 429, body=wire.SignIn,
        answer=wire.SignedIn),
    _open("GET", AUTH + "/login", "beginSignIn", "Sign in at the OIDC provider: sends the browser there", begin_sign_in, 404, 422,
        503, query=(NEXT,), status=303, changes=True),
    _open("GET", CALLBACK, "finishSignIn", "Where the provider sends the browser back", finish_sign_in, 401, 403, 404, 503,
        status=303, changes=True),
    _open("POST", AUTH + "/logout", "signOut", "End the session, what came of it, and a refresh token", sign_out, body=wire.SignOut,
        body_required=False, status=204),
    _open("GET", AUTH + "/setup", "showSetUp", "The page a set-up link leads to", show_set_up, 403, media="text/html"),
    _open("POST", AUTH + "/setup", "setUp", "Make the first admin, by a set-up link", set_up, 403, 422, body=wire.SetUp,
        answer=wire.SignedIn, status=201),
    _open("POST", AUTH + "/token", "makeToken", "OAuth 2.0 tokens, for a refresh token or an API key", make_token, 400, 401,
        body=wire.TokenRequest, answer=wire.WorkspaceToken, form=True, refusal=wire.TokenFault),
    row("POST", AUTH + "/tickets", "makeTicket", "A ticket for one stream, good for half a minute", make_ticket, "self",
        body=wire.WantTicket, body_required=False, answer=wire.StreamTicket, status=201),
    row("POST", AUTH + "/keys/rotate", "rotateSigningKey", "Sign tokens for workspaces with a new key", rotate_key, "admin",
        answer=wire.MadeSigningKey, status=201),
)  # fmt: skip
BARE = tuple(msgspec.structs.replace(one, id=f"{one.id}Bare") for one in (WAYS, EXCHANGE, KEYS))
"""The same at the root, as old clients spell them."""
