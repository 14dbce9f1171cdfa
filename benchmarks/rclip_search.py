"""rclip's own search over vectors that are fed to it: run by `benchmarks.search` with rclip's Python.

    PYTHON benchmarks/rclip_search.py VECTORS.npy QUERIES.npy

Its database is filled with the vectors (N, E) as its indexing would; its `RClip.search` is then asked for
each of the queries (Q, E), in turn with a numpy product, in this one process. Prints JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rclip.db import DB
from rclip.main import RClip

K = 10
PAUSE_S = 0.05


class FedModel:
    """Stands where rclip's model would: a query is the number of a vector."""

    def __init__(self, queries_QE: np.ndarray):
        self.queries_QE = queries_QE

    def compute_features_for_queries(self, queries: list[str]) -> np.ndarray:
        """Numbers as text -> the sum of their vectors (E,), nothing for none."""
        return sum((self.queries_QE[int(query)] for query in queries), np.zeros_like(self.queries_QE[0]))


def fill(database: DB, vectors_NE: np.ndarray) -> None:
    """All vectors, under paths that are never opened."""
    for number, vector_E in enumerate(vectors_NE):
        path = f"/photos/{number // 100:05d}/{number:07d}.jpg"
        image = {"filepath": path, "modified_at": 0.0, "size": 1, "vector": vector_E.tobytes(), "hash": None}
        database.upsert_image(image, commit=False)
    database.commit()


def _product(vectors_NE: np.ndarray, query_E: np.ndarray) -> list[int]:
    return np.argpartition(-(vectors_NE @ query_E), K)[:K].tolist()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time in ms, after a pause: numpy's threads wait busily for more work at first."""
    time.sleep(PAUSE_S)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def main() -> None:
    """Fill, search in turn, print."""
    vectors_NE, queries_QE = np.load(sys.argv[1]), np.load(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        database = DB(Path(folder) / "db.sqlite3")
        fill(database, vectors_NE)
        searcher = RClip(FedModel(queries_QE), database, indexing_batch_size=8, exclude_dirs=None)
        times: dict[str, list[tuple[float, float]]] = {"rclip": [], "numpy": []}
        found = 0
        best = [set(_product(vectors_NE, query_E)) for query_E in queries_QE]
        for number, query_E in enumerate(queries_QE):
            hits: list[RClip.SearchResult] = []
            times["rclip"].append(timed(lambda: hits.extend(searcher.search(str(number), "/photos", K))))  # noqa: B023
            times["numpy"].append(timed(lambda: _product(vectors_NE, query_E)))  # noqa: B023
            found += sum(int(Path(hit.filepath).stem) in best[number] for hit in hits)
        database.close()
    answer = {"version": importlib.metadata.version("rclip"), "recall": found / (K * len(queries_QE))}
    for name, pairs in times.items():
        answer |= {f"{name}_ms": statistics.median(wall for wall, _ in pairs)}
        answer |= {f"{name}_cpu_ms": statistics.median(cpu for _, cpu in pairs)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
