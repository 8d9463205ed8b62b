"""The ladder: a module may import from rungs below its own, and from nothing else. No TYPE_CHECKING anywhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for top in ("server", "storage") for path in (ROOT / top).rglob("*.py"))

# From the ground up. A module belongs to the longest name that it starts with.
LADDER = (
    ("storage.frozen",),
    ("storage.records", "storage.errors", "storage.lru", "storage.stamps"),
    ("storage.ports",),
    ("server.metrics", "server.logs"),
    ("server.rules",),
    ("server.config",),
    ("server.limiter", "server.places"),
    ("server.wire",),
    ("server.services",),
    ("server.handlers",),
    ("server.methods",),
    ("server.dispatch",),
    ("server.answer",),
    ("server.edges",),
    ("server.http",),
)
# Beside the ladder: the adapters, which know records, ports, errors and metrics; and the process, which knows everything.
ADAPTERS = ("storage.postgres", "storage.redis", "storage.embedded")
ADAPTERS_MAY = ("storage.records", "storage.errors", "storage.lru", "storage.stamps", "storage.ports", "server.metrics")
PROCESS = (
    "server.app", "server.worker", "server.ops", "server.supervisor", "server.cli", "server.demo", "server.account",
    "server.engine", "server.signing_keys", "server.reference", "server.issuing", "server.seating", "server.jobs",
    "server.systemd", "server.load_demo", "server.doctor", "server.workers", "server.live", "server.hugepages",
)  # fmt: skip
PURE = ("server.rules", "storage.records", "storage.ports")
DOES_THINGS = {
    "asyncio", "socket", "time", "os", "random", "secrets", "pathlib", "subprocess", "aiohttp", "asyncpg", "redis",
}  # fmt: skip


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Every module that is imported, `from package import module` as the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def rung(module: str) -> int | None:
    return next((number for number, packages in enumerate(LADDER) if within(module, packages)), None)


def ours(path: Path) -> set[str]:
    return {each for each in imports_of(path) if each.partition(".")[0] in ("server", "storage")}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_imports_only_from_below(path: Path) -> None:
    module = name_of(path)
    if module in ("server", "storage") or within(module, PROCESS):
        return
    if within(module, ADAPTERS):
        own = tuple(adapter for adapter in ADAPTERS if within(module, (adapter,)))
        assert not {each for each in ours(path) if not within(each, (*own, *ADAPTERS_MAY))}
        return
    own_rung = rung(module)
    assert own_rung is not None, f"{module} has no place on the ladder"
    package = tuple(each for each in LADDER[own_rung] if within(module, (each,)))
    above = {each for each in ours(path) if (rung(each) is None or rung(each) >= own_rung) and not within(each, package)}
    assert not above - {"server.metrics"}


@pytest.mark.parametrize("path", [path for path in SOURCES if within(name_of(path), PURE)], ids=name_of)
def test_rules_and_records_do_nothing(path: Path) -> None:
    assert not {each.partition(".")[0] for each in imports_of(path)} & DOES_THINGS


def test_only_the_process_knows_the_adapters() -> None:
    assert not [
        name_of(path)
        for path in SOURCES
        if not within(name_of(path), (*PROCESS, *ADAPTERS)) and any(within(each, ADAPTERS) for each in imports_of(path))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_opens_with_what_it_is_for_and_hides_no_cycle(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert "TYPE_CHECKING" not in text


def test_only_the_configuration_reads_the_environment() -> None:
    allowed = {"server.config", "server.supervisor"}  # the supervisor hands the environment down to its workers
    assert not [
        name_of(path) for path in SOURCES if "os.environ" in path.read_text() and name_of(path) not in allowed
    ]
