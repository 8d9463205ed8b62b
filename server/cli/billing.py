"""What `keyturn usage` does: recorded usage, added up by key and month."""

import calendar
import datetime
from dataclasses import asdict

import typer

from server.cli.session import Desk, run
from server.cli.terminal import as_json, remark, table
from server.rules.term import EARLIEST, LATEST, after
from storage.postgres.admin import MonthlyUsage

COLUMNS = ("Month", "Product", "Key", "Amount", "Calls")


def show(ctx: typer.Context, product: int | None, month: datetime.datetime | None, *, json: bool) -> None:
    """Show it: of one product or of all (None), of one month or of all."""
    since, until = (EARLIEST, LATEST) if month is None else _bounds(month)

    async def look(desk: Desk) -> list[MonthlyUsage]:
        if product is not None:
            await desk.product(product)
        return await desk.admin.usage(desk.account.id, product or 0, since, until)

    sums = run(ctx, look)
    if json:
        as_json([asdict(each) for each in sums])
    elif sums:
        table("Recorded usage", COLUMNS, [_row(each) for each in sums])
    else:
        remark(f"No usage was recorded{_where(product, month)}.")


def _bounds(month: datetime.datetime) -> tuple[int, int]:
    """Return when a month begins, and when the next one does."""
    start = int(month.replace(tzinfo=datetime.UTC).timestamp())
    _, days = calendar.monthrange(month.year, month.month)
    return start, after(start, days)


def _row(sum_: MonthlyUsage) -> tuple[str, ...]:
    product = f"{sum_.product_id} {sum_.product_name}"
    return (sum_.month, product, sum_.key, str(sum_.amount), str(sum_.calls))


def _where(product: int | None, month: datetime.datetime | None) -> str:
    of = "" if product is None else f" of product {product}"
    return of if month is None else f"{of} in {month:%Y-%m}"
