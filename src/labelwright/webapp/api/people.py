"""Routes of accounts and API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from labelwright.webapp.accounts import Account
from labelwright.webapp.api import models
from labelwright.webapp.api.access import Caller, Owner, TheAccounts, TheTokens
from labelwright.webapp.api.errors import ApiError, ApiRoute, responses

routes = APIRouter(route_class=ApiRoute, tags=["accounts"])
UserId = Annotated[int, Path(ge=1, le=2**31 - 1)]
TokenId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="`id` of a listed token")]


@routes.get("/users", operation_id="users", summary="All accounts", responses=responses(403))
def users(accounts: TheAccounts, user: Owner) -> list[models.AccountView]:
    return [_view(account) for account in accounts.everybody()]


@routes.post(
    "/users", operation_id="add_user", summary="Make an account", status_code=201, responses=responses(403, 413, 422)
)
def add_user(accounts: TheAccounts, user: Owner, body: models.UserBody) -> models.AccountView:
    new = accounts.add(body.name, body.password, body.role)
    return models.AccountView(id=new.id, name=new.name, role=new.role, active=True)


@routes.patch(
    "/users/{user_id}",
    operation_id="change_user",
    summary="Change a role or a password, close or open an account",
    responses=responses(403, 404, 413, 422),
)
def change_user(
    accounts: TheAccounts, tokens: TheTokens, user: Owner, user_id: UserId, body: models.UserChange
) -> models.AccountView:
    """The account's sessions end with any change. Its API tokens end when it is closed, or when its password changes."""
    _known(accounts, user_id)
    accounts.change(user_id, role=body.role, active=body.active, password=body.password)
    if body.active is False or body.password is not None:
        tokens.revoke_all(user_id)
    return _view(_known(accounts, user_id))


@routes.get("/tokens", operation_id="tokens", summary="My API tokens, without their secrets")
def my_tokens(tokens: TheTokens, user: Caller) -> list[models.TokenView]:
    """Owners see everybody's."""
    return [models.TokenView(**row) for row in tokens.of(None if user.may("owner") else user.id)]


@routes.post(
    "/tokens",
    operation_id="add_token",
    summary="Make an API token",
    status_code=201,
    responses=responses(403, 404, 413, 422),
)
def add_token(accounts: TheAccounts, tokens: TheTokens, user: Caller, body: models.TokenBody) -> models.NewToken:
    """`token` is its secret, which is shown this once. It may do what its user may."""
    whose = user.id if body.user_id is None else body.user_id
    if whose != user.id:
        if not user.may("owner"):
            raise ApiError(
                403,
                found="a token for somebody else",
                expected="one of your own, or the role owner",
                fix="leave out user_id",
            )
        _known(accounts, whose)
    return models.NewToken(**tokens.create(whose, body.name))


@routes.delete(
    "/tokens/{token_id}", operation_id="revoke_token", summary="Take an API token back", responses=responses(404, 422)
)
def revoke_token(tokens: TheTokens, user: Caller, token_id: TokenId) -> models.Done:
    if not tokens.revoke(token_id, None if user.may("owner") else user.id):
        raise ApiError(
            404, found="no such token of yours", expected="the id of one", fix="list them: GET /api/v1/tokens"
        )
    return models.Done()


def _known(accounts: TheAccounts, user_id: int) -> Account:
    """The account with this number, or 404."""
    for account in accounts.everybody():
        if account.user.id == user_id:
            return account
    raise ApiError(404, found=f"no user {user_id}", expected="the id of one", fix="list them: GET /api/v1/users")


def _view(account: Account) -> models.AccountView:
    user = account.user
    return models.AccountView(id=user.id, name=user.name, role=user.role, active=account.active)
