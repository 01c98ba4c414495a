"""Several methods at equal cost: over seeds, judged by a proxy, with a random choice among them.

Every seed holds out other rows of the pool and gives all methods the same rest to choose from, so
that their values are paired. Methods that are clearly behind stop getting seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import samplewise
from samplewise import registry
from samplewise.budget import Budget, BudgetLike
from samplewise.embed import embed_pool
from samplewise.engine import make_engine
from samplewise.errors import UsageError
from samplewise.files import atomic_path, atomic_write
from samplewise.jobs.contest import BASELINE, Contest
from samplewise.jobs.proxies import Proxy, make_proxy
from samplewise.jobs.reading import PoolJob, cache_of, describe_input, read_pool, with_places
from samplewise.measure.elimination import Race, Standing
from samplewise.pool import Pool
from samplewise.progress import Progress, Silent
from samplewise.report import Run, render, render_page, summarise_methods
from samplewise.rng import RandomState, generator, seed_of
from samplewise.runs import RunFolder
from samplewise.select.base import Selector
from samplewise.select.random_rows import Random

if TYPE_CHECKING:
    import pyarrow as pa

    from samplewise.embed.base import Embedder
    from samplewise.ledger import Ledger

__all__ = ["CompareJob", "Comparison", "compare", "run_compare"]

Methods: TypeAlias = "Sequence[str | Selector] | Mapping[str, str | Selector]"


@dataclass(frozen=True)
class Comparison:
    """What several methods were worth at equal cost.

    Attributes
    ----------
    pool : Pool
        With the vectors that were used.
    budget : Budget
        What every method could spend, in each seed.
    methods : mapping of str to Selector
        By the name that tables and pictures show.
    proxy : Proxy
        What judged them.
    race : Race
        Which holds the values of the main figure, and who left it when.
    runs : list of Run
        Every figure of every method and seed.
    report : dict
        All that the report shows, as plain JSON values.
    """

    pool: Pool
    budget: Budget
    methods: Mapping[str, Selector]
    proxy: Proxy
    race: Race
    runs: Sequence[Run]
    report: Mapping[str, Any]

    @property
    def winner(self) -> str:
        """The best mean of the methods that may be best; it may be the random choice."""
        return self.race.leader

    @property
    def standings(self) -> list[Standing]:
        """Where every method stands, best first."""
        return self.race.standings()

    @property
    def table(self) -> pa.Table:
        """Arrow table with one row a method, best first."""
        import pyarrow as pa

        rows = [dict(row) for row in self.report["methods"]]
        for row in rows:
            row["eliminated_after"] = (row.pop("exit") or {}).get("after")
            row |= {f"mean_{key}": value for key, value in row.pop("others").items()}
            row.pop("knobs")
        return pa.Table.from_pylist(rows)

    @property
    def values(self) -> pa.Table:
        """Arrow table with one row a seed, method and figure."""
        import pyarrow as pa

        names = ("seed", "method", "figure", "value")
        rows = [
            dict(zip(names, (run.seed, run.method, figure, value), strict=True))
            for run in self.runs
            for figure, value in run.figures.items()
        ]
        return pa.Table.from_pylist(rows)

    def write(self, folder: str | Path) -> Path:
        """Write `compare.parquet` (every value), `report.json` and `report.html`.

        Returns
        -------
        Path
            The report.
        """
        folder = Path(folder)
        self._write_figures(folder)
        run = {"command": "compare select", "version": samplewise.__version__}
        atomic_write(folder / "report.html", render_page(run, self.report))
        return folder / "report.html"

    def _write_figures(self, folder: Path) -> None:
        import orjson
        import pyarrow.parquet as pq

        with atomic_path(folder / "compare.parquet") as temporary:
            pq.write_table(self.values, temporary, compression="zstd")
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        atomic_write(folder / "report.json", orjson.dumps(self.report, option=options))


@dataclass(frozen=True)
class CompareJob(PoolJob):
    """All that decides what a comparison gives.

    Parameters
    ----------
    pool : str
        File or folder of rows; what else is read of it, and how, is as in `PoolJob`.
    methods : list of str
        Names, also with knobs: ``"kmeans-random:clusters=64"``.
    budget : str
        As `Budget.parse` reads it.
    knobs : mapping of str to str
        ``"METHOD.KNOB"`` to value.
    proxy : str
        ``"probe"``, ``"coverage"`` or ``"lm"``, also with knobs.
    seeds, held_out, alpha, indifference, eliminate, pooled
        As `samplewise.compare` takes them.
    """

    methods: list[str]
    budget: str = "5%"
    knobs: Mapping[str, str] = field(default_factory=dict)
    proxy: str = "probe"
    seeds: int = 5
    held_out: float = 0.2
    alpha: float = 0.05
    indifference: float = 0.0
    eliminate: bool = True
    pooled: bool = True


def compare(
    pool: Pool,
    methods: Methods,
    budget: BudgetLike = "5%",
    *,
    seeds: int = 5,
    proxy: str | Proxy = "probe",
    rng: RandomState = None,
    held_out: float = 0.2,
    alpha: float = 0.05,
    indifference: float = 0.0,
    eliminate: bool = True,
    pooled: bool = True,
    embedder: str | Embedder | None = None,
    target: Pool | None = None,
    workers: int | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare methods that choose rows, at equal cost; a random choice is always among them.

    Parameters
    ----------
    pool : Pool
        The rows.
    methods : sequence of str or Selector, or mapping of name to one
        ``"kmeans-random"``, or with knobs ``"kmeans-random:clusters=64"``.
    budget : str, int, float or Budget
        What each may choose, as `samplewise.select` takes it; a share counts rows of the whole
        pool.
    seeds : int
        The most seeds, 2 or more. Each draws other held-out rows, the same for every method.
    proxy : str or Proxy
        ``"probe"``, ``"coverage"`` or ``"lm"``, also with knobs: ``"lm:steps=50"``.
    rng : int, numpy.random.Generator or None
        The same seed gives the same figures.
    held_out : float
        Share of the rows that no method can choose, and that the proxy judges by.
    alpha : float
        The probability, at most, that the best method is eliminated; intervals hold with 1 minus
        it, for all methods together.
    indifference : float
        A difference in the main figure that does not matter.
    eliminate : bool
        Whether methods that are clearly behind stop getting seeds.
    pooled : bool
        Whether the noise of all methods is taken to be alike. If not, each pair is judged by its
        own, which takes many more seeds.
    embedder : str or Embedder, optional
        What makes vectors of texts where they are needed; by default the built-in one.
    target : Pool, optional
        For methods that choose for a purpose.
    workers : int, optional
        Methods that run at the same time, each on one core; by default one a core. With 1, a method
        may use all cores.
    ledger : Ledger, optional
        Where every method and seed is recorded; those it already holds are not run again.
    progress : Progress, optional

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        If a method, the proxy or a number makes no sense.
    InputError
        If a method or the proxy cannot work on the pool; all that cannot are named.

    Examples
    --------
    >>> import numpy as np, samplewise as sw
    >>> rng = np.random.default_rng(0)
    >>> kinds = np.repeat([0, 1, 2], [180, 15, 5])
    >>> X = np.eye(3)[kinds] + 0.1 * rng.normal(size=(200, 3))
    >>> pool = sw.Pool.from_arrays(X, y=kinds.astype(str))
    >>> found = compare(pool, ["k-center"], 6, seeds=4, proxy="coverage", rng=0)
    >>> found.winner, found.race.spent, found.table.column("method").to_pylist()
    ('k-center', 8, ['k-center', 'random'])
    """
    seed = rng if isinstance(rng, int) else seed_of(generator(rng))
    generator(seed)
    contest = Contest(
        _with_baseline(_made(methods)),
        Budget.parse(budget),
        make_proxy(proxy) if isinstance(proxy, str) else proxy,
        seeds=seeds,
        rng=seed,
        held_out=held_out,
        alpha=alpha,
        indifference=indifference,
        eliminate=eliminate,
        pooled=pooled,
    )
    pool = pool if target is None else pool.with_target(target)
    contest.check(pool)
    progress = progress or Silent()
    if contest.needs_vectors(pool):
        pool = embed_pool(pool, embedder or "builtin", progress=progress)
    return _compare(contest, pool, workers, ledger, progress)


def run_compare(
    job: CompareJob,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a comparison in a run folder.

    Parameters
    ----------
    job : CompareJob
        What to compare on what.
    out : str or Path
        The run folder.
    resume : bool
        Whether to take up a run that was stopped: no method is run again on a seed that it has
        finished.
    cache : str or Path, optional
        Folder for rows and vectors, shared by runs; by default `.samplewise-cache` beside `out`.
    workers : int, optional
        Methods that run at the same time; by default one a core.
    progress : Progress, optional

    Returns
    -------
    dict
        What `run.json` holds; the table of methods is in `report.json`.

    Raises
    ------
    SamplewiseError
        If the request or the input is wrong.
    """
    progress = progress or Silent()
    generator(job.rng)
    contest = Contest(
        _with_baseline(_parsed(job.methods, job.knobs)),
        Budget.parse(job.budget),
        make_proxy(job.proxy),
        seeds=job.seeds,
        rng=job.rng,
        held_out=job.held_out,
        alpha=job.alpha,
        indifference=job.indifference,
        eliminate=job.eliminate,
        pooled=job.pooled,
    )
    job.scorer()  # refuses what is none
    job = with_places(job)
    out = Path(out)
    with RunFolder(out, "compare select", dataclasses.asdict(job), resume=resume) as folder:
        if folder.finished:
            return folder.record
        pool = read_pool(
            job,
            folder,
            cache_of(out, cache),
            make_engine("local"),
            progress,
            check=contest.check,
            needs_vectors=contest.needs_vectors,
        )
        with folder.stage("compare"):
            comparison = _compare(contest, pool, workers, folder.ledger, progress)
        with folder.stage("report"):
            comparison._write_figures(folder.path)
        folder.note(**_facts(job, comparison))
        render(folder.path)
        folder.finish()
        return folder.record


def _compare(
    contest: Contest, pool: Pool, workers: int | None, ledger: Ledger | None, progress: Progress
) -> Comparison:
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers", mend="give 1 or more")
    race, runs = contest.run(pool, workers, ledger, progress)
    proxy = contest.proxy
    report = summarise_methods(
        race,
        runs,
        figures={key: (figure.title, figure.better) for key, figure in proxy.figures.items()},
        described={
            name: {"title": method.title(), "knobs": method.settings()}
            for name, method in contest.methods.items()
        },
        asked={
            "pool": pool.name,
            "rows": len(pool),
            "rejected": len(pool.rejected),
            "held_out": contest.held_rows(pool),
            "chosen": max(run.rows for run in runs),
            "budget": str(contest.budget),
            "proxy": proxy.name,
            "proxy_knobs": proxy.settings(),
            "rng": contest.rng,
            "indifference": contest.indifference,
            "eliminate": contest.eliminate,
            "pooled": contest.pooled,
        },
    )
    return Comparison(pool, contest.budget, contest.methods, proxy, race, runs, report)


def _facts(job: CompareJob, comparison: Comparison) -> dict[str, Any]:
    pool = comparison.pool
    return {
        "seed": job.rng,
        "input": describe_input(job, pool),
        "methods": {
            name: {"method": method.name, "knobs": method.settings()}
            for name, method in comparison.methods.items()
        },
        "proxy": comparison.proxy.name,
        "budget": str(comparison.budget),
        "winner": comparison.winner,
        "decided": comparison.race.decided,
        "verdict": comparison.report["verdict"]["text"],
    }


def _made(methods: Methods) -> dict[str, Selector]:
    """Make the methods, by the names that they are shown under."""
    if isinstance(methods, Mapping):
        return {
            name: one if isinstance(one, Selector) else next(iter(_parsed([one]).values()))
            for name, one in methods.items()
        }
    if isinstance(methods, str):
        raise UsageError(f"methods is {methods!r}", mend="give a list of methods")
    found: dict[str, Selector] = {}
    for one in methods:
        _add(found, *_parsed([one]).popitem() if isinstance(one, str) else (one.label(), one))
    return found


def _parsed(specs: Sequence[str], settings: Mapping[str, str] | None = None) -> dict[str, Selector]:
    """Make methods from NAME:KNOB=VALUE, and from METHOD.KNOB to value for all of that name."""
    given: dict[str, dict[str, str]] = {}
    for key, value in (settings or {}).items():
        method, dot, knob = key.partition(".")
        if not dot:
            raise UsageError(f"--set {key}={value}", mend="write --set METHOD.KNOB=VALUE")
        given.setdefault(registry.find(method).name, {})[knob] = value
    found: dict[str, Selector] = {}
    for spec in specs:
        name, own = registry.parse_spec(spec)
        cls = registry.find(name)
        own = given.get(cls.name, {}) | own
        made = registry.configure(cls, own)
        assert isinstance(made, Selector)
        _add(found, ":".join([cls.name, *(f"{knob}={value}" for knob, value in own.items())]), made)
    unused = set(given) - {method.name for method in found.values()}
    if unused:
        raise UsageError(
            f"--set for {', '.join(sorted(unused))}, which is not compared",
            mend=f"name it among the methods: {', '.join(found)}",
        )
    return found


def _add(found: dict[str, Selector], name: str, method: Selector) -> None:
    if name in found:
        raise UsageError(f"{name} is named twice", mend="name it once, or with other knobs")
    found[name] = method


def _with_baseline(methods: dict[str, Selector]) -> dict[str, Selector]:
    if any(isinstance(method, Random) for method in methods.values()):
        return methods
    if BASELINE in methods:
        raise UsageError(f"{BASELINE!r} is no random choice", mend="give it another name")
    return {**methods, BASELINE: Random()}
