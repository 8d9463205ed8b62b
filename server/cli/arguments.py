"""What more than one group of commands is given: arguments and options of one meaning, and how they are checked."""

from typing import Annotated

import typer

from server.wire.requests import INT32

FEATURES = 8
LONGEST_NAME = 250

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProductId = Annotated[int, typer.Argument(metavar="PRODUCT", help="The product's id.", min=1, max=INT32)]


def check_name(name: str) -> None:
    """Refuse a name that a product or token cannot have. Raises `BadParameter`."""
    if not name.strip() or len(name) > LONGEST_NAME:
        raise typer.BadParameter(f"A name has 1 to {LONGEST_NAME} characters.", param_hint="NAME")
