"""What the README says of the program is what the program says of itself."""

import re

from server.config import VARIABLES
from server.reference import README, updated


def test_the_table_of_methods_in_the_readme_is_up_to_date() -> None:
    text = README.read_text()
    assert updated(text) == text


def test_the_readme_lists_every_setting_and_no_other() -> None:
    section = README.read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z_]{4,})`", row)}
    assert listed == set(VARIABLES)
