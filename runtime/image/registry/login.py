"""Logging in to a registry: what it accepts is kept."""

from __future__ import annotations

from runtime.image.registry.answers import refusal
from runtime.image.registry.authentication import Authenticator
from runtime.image.registry.challenge import parse_challenges
from runtime.image.registry.credentials import Login
from runtime.image.registry.endpoints import endpoint
from runtime.image.registry.errors import InvalidAnswer, Unauthorized
from runtime.image.registry.session import Session


def verify(session: Session, host: str, login: Login) -> Login:
    """Ask a registry whether it accepts a user name and password; what is to be kept of them.

    That is an identity token instead of the password, if its token server gives one.
    `Unauthorized` if it does not accept them; a registry that asks nobody accepts all.
    """
    return session.retried(lambda: _verify(session, host, login))


def _verify(session: Session, host: str, login: Login) -> Login:
    place = endpoint(host, "", session.registries)
    base = session.base(place)
    with session.transport.exchange("GET", base, settings_of=host, headers={}) as response:
        if response.status_code == 200:
            return login
        if response.status_code != 401:
            raise refusal(response, host)
        challenges = parse_challenges(response.headers.get_list("WWW-Authenticate"))
    insecure = session.registries.settings(host).insecure
    authenticator = Authenticator(host, base, session.transport, lambda: login, insecure=insecure)
    for challenge in challenges:
        if challenge.scheme == "bearer":
            grant = authenticator.fetch(challenge, (), login, identity=True)
            header, kept = f"Bearer {grant.token}", login
            if grant.identity_token:
                kept = Login(username=login.username, identity_token=grant.identity_token)
            break
        if challenge.scheme == "basic":
            header, kept = login.basic(), login
            break
    else:
        raise InvalidAnswer(host, "it asks for something else than a user name and password")
    with session.transport.exchange(
        "GET", base, settings_of=host, headers={"Authorization": header}
    ) as response:
        if response.status_code == 401:
            raise Unauthorized(host, 401, [f"the credentials of {login.username} are not accepted"])
        if response.status_code != 200:
            raise refusal(response, host)
    return kept
