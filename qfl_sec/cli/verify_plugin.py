"""`qfl-sec verify-plugin`: the conformance kit on one plug-in."""

from typing import Annotated

import typer

from qfl_sec.cli.options import Json, answer
from qfl_sec.cli.output import answers_only


def verify_plugin(
    plugin: Annotated[
        str,
        typer.Argument(metavar="FILE_OR_NAME", help="A Python file, or a registered name.", show_default=False),
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter to check it at, such as epsilon=2.", show_default=False
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest time that the import, and each check, may take.")
    ] = 60.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of everything that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Check that a plug-in keeps its contract and does what it claims; status 1 if it does not."""
    from qfl_sec.testing.process import verify

    with answers_only():
        cards = verify(plugin, changes=changes or (), time_limit=time_limit, seed=seed)
    passed = all(card.passed for card in cards)
    if as_json:
        answer({"passed": passed, "scorecards": [card.as_dict() for card in cards]})
    else:
        print("\n\n".join(card.text() for card in cards))
    if not passed:
        raise typer.Exit(1)
