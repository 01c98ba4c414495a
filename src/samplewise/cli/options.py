"""Options that commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from samplewise.errors import UsageError

__all__ = [
    "Accept",
    "Alpha",
    "Cache",
    "Elimination",
    "Embed",
    "EmbedUrl",
    "Gold",
    "Indifference",
    "Json",
    "Label",
    "MaxTokens",
    "ModelName",
    "Out",
    "PoolFile",
    "Pooled",
    "Problems",
    "Question",
    "Resume",
    "Score",
    "ScoreKnobs",
    "Seed",
    "Source",
    "Strict",
    "System",
    "Tags",
    "Target",
    "Temperature",
    "Template",
    "Text",
    "TopP",
    "Verify",
    "settings",
]

Out = Annotated[Path, typer.Option("--out", help="Run folder; made new.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

PoolFile = Annotated[str, typer.Argument(help="File or folder of rows, or a .npy of vectors.")]
Text = Annotated[str | None, typer.Option(help="Text fields, comma-separated.")]
Label = Annotated[str | None, typer.Option(help="Label field.")]
Source = Annotated[str | None, typer.Option(help="Source field.")]
Score = Annotated[
    str | None,
    typer.Option(help="Score field, method:NAME (samplewise methods --room score), or a .npy."),
]
ScoreKnobs = Annotated[
    list[str] | None, typer.Option("--score-set", help="A knob of that method: NAME=VALUE.")
]
Tags = Annotated[str | None, typer.Option(help="Field of a list of tags, or of a,b;c.")]
Target = Annotated[str | None, typer.Option(help="Rows like those that the chosen ones are for.")]
Embed = Annotated[
    str,
    typer.Option(
        help="builtin, sentence-transformers:MODEL, endpoint:MODEL, FILE.npy or column:NAME."
    ),
]
EmbedUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible endpoint.")]
Cache = Annotated[
    Path | None, typer.Option(help="Folder for rows and vectors; beside --out by default.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Take up a stopped run.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first row that cannot be read.")
]

Problems = Annotated[str, typer.Argument(help="File or folder of problems.")]
ModelName = Annotated[
    str, typer.Option("--model", help="builtin, a folder of weights, or endpoint:NAME@URL.")
]
Verify = Annotated[
    str,
    typer.Option(help="What says whether an answer is right: math, exact, choice, python, ..."),
]
Accept = Annotated[
    str | None, typer.Option(help="What a strategy may ask meanwhile; the same by default.")
]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token.")]
TopP = Annotated[float, typer.Option(help="Probability of the tokens drawn from.")]
MaxTokens = Annotated[
    int | None, typer.Option(help="The most tokens of a completion; the model's by default.")
]
System = Annotated[str | None, typer.Option(help="What the model is told before every problem.")]
Template = Annotated[str | None, typer.Option(help="What it is asked, with {question} in it.")]
Question = Annotated[str | None, typer.Option(help="Field of the question.")]
Gold = Annotated[str | None, typer.Option(help="Field of the right answer.")]
Seed = Annotated[int, typer.Option("--rng", help="The seed.")]

Elimination = Annotated[
    bool, typer.Option(help="Whether what is clearly behind stops getting seeds.")
]
Indifference = Annotated[
    float, typer.Option(help="Difference in the main figure that does not matter.")
]
Alpha = Annotated[float, typer.Option(help="Probability, at most, of losing the best.")]
Pooled = Annotated[bool, typer.Option(help="Whether the values of all are taken to scatter alike.")]


def settings(
    pairs: Sequence[str], form: str = "NAME=VALUE", option: str = "--set"
) -> dict[str, str]:
    """Read what `--set`, or an option like it, was given.

    Raises
    ------
    UsageError
        If a pair has no equals sign.
    """
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"{option} {pair}", mend=f"write {option} {form}")
    return {name.strip(): value for name, _, value in (pair.partition("=") for pair in pairs)}
