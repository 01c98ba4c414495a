"""From what a command line says to a server that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from samplewise.errors import UsageError
from samplewise.extras import need
from samplewise.models.completion import Model, make_model
from samplewise.models.endpoint import EndpointModel
from samplewise.progress import Progress, Silent
from samplewise.serve.limits import Keys, Limits, is_loopback, read_keys
from samplewise.verify import make_verifier

__all__ = ["run_server"]

_LAST_WORDS = 5  # seconds that requests have to end when the server is told to stop


def run_server(
    model: str = "builtin",
    *,
    verify: str = "math",
    host: str = "127.0.0.1",
    port: int = 8000,
    keys_env: str | None = None,
    without_keys: bool = False,
    limits: Limits | None = None,
    retries: int = 0,
    in_flight: int = 256,
    progress: contextlib.AbstractContextManager[Progress] | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a model until the process is told to stop.

    Parameters
    ----------
    model : str
        As `make_model` takes it.
    verify : str
        As `make_verifier` takes it: what strategies ask, and how votes find answers.
    host, port
        Where; port 0 takes one that is free.
    keys_env : str, optional
        Environment variable with the keys that may ask, separated by commas.
    without_keys : bool
        Whether everybody may ask from elsewhere too.
    limits : Limits, optional
    retries : int
        Further tries of a request to an endpoint: clients mostly try again by themselves.
    in_flight : int
        Requests in flight to an endpoint: so many passed on, and so many of hidden samples.
    progress : context manager of Progress, optional
        Entered while the model is loaded.
    tell : callable
        Told of the address once it is known.

    Raises
    ------
    UsageError
        If the server could be reached from elsewhere without keys, or what was given makes no
        sense.
    """
    keys = read_keys(keys_env)
    if not keys and not without_keys and not is_loopback(host):
        raise UsageError(
            f"on {host} everybody who reaches this machine could use the model",
            mend="name the variable that holds keys with --keys-env, or say --without-keys",
        )
    limits = limits or Limits()
    known = Keys(keys, limits, anywhere=without_keys)
    uvicorn = need("uvicorn", "serve", "serving")
    from samplewise.serve.app import create_app

    with progress or contextlib.nullcontext(Silent()) as shown:
        made = _upstream(make_model(model, progress=shown), limits, retries, in_flight)
    app = create_app(made, make_verifier(verify, model=made), keys=known, limits=limits)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_WORDS,
    )
    listener = config.bind_socket()
    listener.listen()  # so that who reads the address can connect at once
    name = f"[{host}]" if ":" in host else host
    tell(f"serving {made.name} on http://{name}:{listener.getsockname()[1]}/v1")
    uvicorn.Server(config).run(sockets=[listener])


def _upstream(model: Model, limits: Limits, retries: int, in_flight: int) -> Model:
    if not isinstance(model, EndpointModel):
        return model
    return EndpointModel(
        model.model, model.url, retries=retries, concurrency=in_flight, timeout=limits.seconds
    )
