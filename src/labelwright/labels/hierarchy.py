"""Classes in a tree or directed acyclic graph: how far apart they are, and where they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from labelwright.errors import LabelError

ROOT = "<root>"  # added above the roots of a forest

Name = str | int


class Hierarchy:
    """K classes in a tree or directed acyclic graph, with their pairwise distances.

    Attributes:
        class_names: (K,) order of the class ids.
        nodes: (V,) classes and inner nodes, parents before children.
        edges: ((child, parent), ...), as `LabelSpace` takes them; several roots get one added root above them.
        depth: (V,) edges on the longest path from the root, so that a child is deeper than all of its parents.
        distance: (K, K) edges on the shortest path between two classes through a common ancestor.
        lca: (K, K) number in `nodes` of the deepest common ancestor; ties go to the earlier node. A class is its own
            ancestor.
        to_lca: (K, K) edges on the shortest path from the row's class up to it.

    Source: Parekh et al. 2021 (arXiv 2112.13320).

    >>> h = Hierarchy({"cat": "animal", "dog": "animal", "animal": "thing", "car": "thing"}, ["cat", "dog", "car"])
    >>> h.distance
    array([[0, 2, 3],
           [2, 0, 3],
           [3, 3, 0]])
    >>> h.nodes[h.lca[0, 1]]
    'animal'
    """

    def __init__(self, parents: Mapping[Name, Name | Sequence[Name]], class_names: Sequence[Name]):
        """parents: each node's parent, or list of parents; roots are left out or have none. class_names: (K,)."""
        above: dict[Name, list[Name]] = {c: [p] if isinstance(p, str | int) else list(p) for c, p in parents.items()}
        for named in list(above.values()):
            for parent in named:
                above.setdefault(parent, [])
        _check_classes(above, class_names)
        order = _topological(above)
        top = [node for node in order if not above[node]]
        if len(top) > 1:
            above.update({node: [ROOT] for node in top})
            above[ROOT] = []
            order = [ROOT, *(node for node in order if node != ROOT)]
        self.class_names, self.nodes = list(class_names), order
        self.edges = tuple((node, parent) for node in order for parent in above[node])
        self._measure()

    def _measure(self) -> None:
        order, index = self.nodes, {node: i for i, node in enumerate(self.nodes)}
        self.depth = np.zeros(len(order), np.int64)
        far = np.int16(2**13) if len(order) < 2**13 else np.int32(2**29)  # no path is as long; twice of it still fits
        up = np.full((len(order), len(order)), far)  # steps up from the row's node; `far` if it is no ancestor
        np.fill_diagonal(up, 0)
        for child, parent in self.edges:  # parents come first, so their rows are complete
            i, j = index[child], index[parent]
            self.depth[i] = max(self.depth[i], self.depth[j] + 1)
            np.minimum(up[i], up[j] + 1, out=up[i])
        classes = np.array([index[name] for name in self.class_names])
        shared = np.flatnonzero((up[classes] < far).sum(0) > 1)  # only these can be common to two classes
        shared = shared[np.argsort(-self.depth[shared], kind="stable")]  # deepest first
        near = up[np.ix_(classes, shared)]
        k = len(classes)
        self.lca, self.distance = np.empty((k, k), np.int64), np.zeros((k, k), np.int64)
        for i in range(k) if k > 1 else ():
            self.lca[i] = shared[((near < far) & (near[i] < far)).argmax(1)]
            self.distance[i] = (near + near[i]).min(1)
        self.lca[np.arange(k), np.arange(k)] = classes
        self.distance[np.arange(k), np.arange(k)] = 0
        self.to_lca = up[classes[:, None], self.lca].astype(np.int64)

    @classmethod
    def from_paths(cls, paths: Iterable[Sequence[Name]], class_names: Sequence[Name]) -> Hierarchy:
        """From root-to-leaf paths, as in `["thing", "animal", "cat"]`; a node on several paths may get several parents.

        >>> Hierarchy.from_paths([["thing", "cat"], ["thing", "car"]], ["cat", "car"]).distance.tolist()
        [[0, 2], [2, 0]]
        """
        parents: dict[Name, list[Name]] = {}
        for path in paths:
            for i, node in enumerate(path):
                known = parents.setdefault(node, [])
                if i and path[i - 1] not in known:
                    known.append(path[i - 1])
        return cls(parents, class_names)


def _topological(above: Mapping[Name, Sequence[Name]]) -> list[Name]:
    """Parents before children, else in the order given."""
    done: dict[Name, None] = {}
    waiting = list(above)
    while waiting:
        ready = [node for node in waiting if all(p in done for p in above[node])]
        if not ready:
            raise LabelError(
                found=f"a cycle among or above {', '.join(map(repr, waiting[:5]))}",
                expected="a tree or directed acyclic graph",
                fix="remove the line that makes a node its own ancestor",
            )
        done |= dict.fromkeys(ready)
        waiting = [node for node in waiting if node not in done]
    return list(done)


def _check_classes(above: Mapping[Name, Sequence[Name]], class_names: Sequence[Name]) -> None:
    missing = [name for name in class_names if name not in above]
    if missing:
        raise LabelError(
            found=f"{len(missing)} classes that are not in the hierarchy: {', '.join(map(repr, missing[:5]))}",
            expected="every class as a child or a parent",
            fix="add a line `class, parent` for each, or correct the spelling",
        )
    if len(set(class_names)) < len(class_names) or not len(class_names):
        raise LabelError(
            found=f"{len(class_names)} class names, {len(set(class_names))} distinct",
            expected="K distinct names",
            fix="merge the classes",
        )
