"""`samplewise serve`: a model behind the OpenAI protocol, with strategies by the model's name."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["serve"]


def serve(
    model: Annotated[
        str, typer.Option(help="builtin, a folder of weights, or endpoint:NAME@URL.")
    ] = "builtin",
    verify: Annotated[
        str, typer.Option(help="What strategies ask, and how votes find answers: math, exact, ...")
    ] = "math",
    host: Annotated[str, typer.Option(help="Another than this machine needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes one that is free.", min=0, max=65535)] = 8000,
    keys_env: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="Environment variable of the keys: KEY,KEY."),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everybody ask, from elsewhere too.")
    ] = False,
    max_tokens_per_request: Annotated[
        int | None, typer.Option(help="Tokens drawn for a request, hidden samples among them.")
    ] = None,
    tokens_per_key: Annotated[
        int | None, typer.Option(help="Tokens of a key, read and drawn, since the start.")
    ] = None,
    max_samples: Annotated[int, typer.Option(help="Samples that a request may ask for.")] = 256,
    max_requests: Annotated[int, typer.Option(help="Requests answered at a time.")] = 256,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = 4 * 2**20,
    max_depth: Annotated[int, typer.Option(help="Brackets within brackets of one.")] = 32,
    timeout: Annotated[float, typer.Option(help="Seconds from a request to its end.")] = 600.0,
    retries: Annotated[
        int, typer.Option(help="Further tries of a request to the endpoint.", min=0)
    ] = 0,
    in_flight: Annotated[
        int, typer.Option(help="Requests to the endpoint: passed on, and of hidden samples, each.")
    ] = 256,
) -> None:
    """Serve a model over the OpenAI protocol; the model's name chooses the strategy.

    Example: samplewise serve --model endpoint:qwen@http://localhost:8001/v1
    """
    from samplewise.cli.bars import bars
    from samplewise.extras import need

    for module in ("fastapi", "prometheus_client"):
        need(module, "serve", "serving")
    from samplewise.serve.limits import Limits
    from samplewise.serve.server import run_server

    run_server(
        model,
        verify=verify,
        host=host,
        port=port,
        keys_env=keys_env,
        without_keys=without_keys,
        limits=Limits(
            tokens_per_request=max_tokens_per_request,
            tokens_per_key=tokens_per_key,
            seconds=timeout,
            at_work=max_requests,
            samples=max_samples,
            body_bytes=max_body,
            depth=max_depth,
        ),
        retries=retries,
        in_flight=in_flight,
        progress=bars(),
        tell=typer.echo,
    )
