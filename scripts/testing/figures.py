#!/usr/bin/env python
"""Counts what shows the shape of the code, and fails if it grew worse than the limits below, which may only shrink.

The chain is the longest path of imports at run time between modules of `agent`, `runners` and `aitbc`: imports for types alone do not count, and
what is loaded by its name (`agent.features`, entry points) is followed as if it were imported. Features that every other may
import count once.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from grimp import ImportGraph, build_graph

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("agent", "runners", "aitbc")
KERNEL: Final = ("agent/coordinator", "agent/core", "agent/settings", "agent/protocol")
FEATURES: Final = "agent.coordinator.features."
SHARED: Final = ("log", "client_apis")
"""The features that every other may import: no coordinator is without them."""
LOADED: Final = {
    "agent.coordinator.installed": ".feature",
    "agent.coordinator.job_fields": ".fields",
}
"""What is loaded by its name: the ends of the names of features' modules."""
COMMON: Final = 3
"""How often a file name may occur in `agent` outside of features."""
LIMITS: Final = {
    "lines of the kernel": 22_000,
    "modules in the longest chain of imports": 20,
    "fields of Context": 12,
    "imports between features": 10,
    "names of more than three files": 0,
}


def _files(folder: str) -> Iterator[Path]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path


def _kernel_lines() -> int:
    return sum(
        len(path.read_text().splitlines())
        for folder in KERNEL
        for path in _files(folder)
        if "features" not in path.parts
    )


def _repeated_names() -> list[str]:
    """Return the file names that occur more than three times in `agent` outside of the features."""
    names = Counter(
        path.name for path in _files("agent") if "features" not in path.parts and path.name != "__init__.py"
    )
    return sorted(name for name, count in names.items() if count > COMMON)


def _context_fields() -> int:
    tree = ast.parse((ROOT / "agent/coordinator/operations/context.py").read_text())
    context = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Context")
    return sum(isinstance(node, ast.AnnAssign) for node in context.body)


def _imports(graph: ImportGraph) -> Mapping[str, set[str]]:
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    for module, end in LOADED.items():
        imports[module] |= {
            other for other in graph.modules if other.startswith(FEATURES) and other.endswith(end)
        }
    return imports


def _arrows(imports: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """Return which features import which others."""
    return {
        (importer.split(".")[3], imported.split(".")[3])
        for importer, others in imports.items()
        for imported in others
        if importer.startswith(FEATURES)
        and imported.startswith(FEATURES)
        and importer.split(".")[3] != imported.split(".")[3]
    }


def _chain(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the longest path. Raises `graphlib.CycleError` if there is a circle."""
    chains: dict[str, list[str]] = {}
    for module in TopologicalSorter(imports).static_order():
        chains[module] = [module, *max((chains[other] for other in imports[module]), key=len, default=[])]
    return max(chains.values(), key=len)


def main() -> int:
    """Print the figures. Return 1 if one exceeds its limit."""
    graph = build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = _imports(graph)
    chain, arrows, repeated = _chain(imports), _arrows(imports), _repeated_names()
    figures = {
        "lines of the kernel": _kernel_lines(),
        "modules in the longest chain of imports": len(chain),
        "fields of Context": _context_fields(),
        "imports between features": len(
            {(None if shared in SHARED else feature, shared) for feature, shared in arrows}
        ),
        "names of more than three files": len(repeated),
    }
    for name, figure in figures.items():
        print(f"{name}: {figure} (limit {LIMITS[name]})")
    print("  chain:", " > ".join(chain))
    print(
        "  between features:", ", ".join(f"{importer} > {imported}" for importer, imported in sorted(arrows))
    )
    print("  file names:", ", ".join(repeated))
    return int(any(figure > LIMITS[name] for name, figure in figures.items()))


if __name__ == "__main__":
    sys.exit(main())
