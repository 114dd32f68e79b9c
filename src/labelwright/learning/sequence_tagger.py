"""A tagger of sequences that learns from whole, missing and partial labels, and can be moved to another source.

features of each line -> BiLSTM -> linear emissions -> linear-chain CRF. Lines without a label are summed over, so that weak
labels with gaps train it as they are. Source: Huang, Xu & Yu 2015 (BiLSTM-CRF); Tsuboi et al. 2008 (partial labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError, check_whole, rows

if TYPE_CHECKING:
    from torch import Tensor

FEW = 10  # documents; with fewer, `adapt` leaves the transitions as they are
CHECK = 10  # updates between two looks at the held-out documents, at least
LEAST_HELD = 5  # documents; with fewer, none is held out
BLIND = 100  # updates where none is held out


class SequenceTagger:
    """Classes of the lines of documents.

    Args:
        n_classes: K; None: the largest label + 1, or the columns of candidate sets.
        hidden: units of the BiLSTM per direction; 0: none, emissions are linear in the line's own features.
        chain: learn transitions between classes; False: every line is judged for itself (given the BiLSTM).
        dropout: share of features, and of BiLSTM outputs, left out in each update.
        learning_rate, weight_decay: of Adam.   batch_size: documents per update.
        max_updates: at most.   held_out: share of the documents that stop the training early; none is held out of fewer
            than five, and then there are 100 updates.
        patience: looks at the held-out loss without a better one before it stops; the best weights are kept.
        random_state: seed of the weights, the dropout, the held-out documents and their order. The generator of torch
            itself is left as it was.

    Attributes after `fit`: n_classes_, transitions_ (K, K) [class, next class], start_ and end_ (K,), trace_: the held-out
    loss per line (nats) at each look.
    """

    def __init__(
        self,
        *,
        n_classes: int | None = None,
        hidden: int = 128,
        chain: bool = True,
        dropout: float = 0.3,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 16,
        max_updates: int = 600,
        held_out: float = 0.15,
        patience: int = 5,
        random_state: int = 0,
    ):
        self.n_classes, self.hidden, self.chain, self.dropout = n_classes, hidden, chain, dropout
        self.learning_rate, self.weight_decay, self.batch_size = learning_rate, weight_decay, batch_size
        self.max_updates, self.held_out, self.patience, self.random_state = (
            max_updates,
            held_out,
            patience,
            random_state,
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options, as scikit-learn asks for them."""
        return {name: value for name, value in vars(self).items() if not name.endswith("_")}

    def fit(self, docs: Sequence[Any], labels: Sequence[Any]) -> SequenceTagger:
        """Train from nothing.

        Args:
            docs: one (T_i, D) array of features per document.
            labels: per document (T_i,) class ids, -1 = unknown; or (T_i, K) bool, the classes that each line may have.

        Raises:
            DataError: a document with zero lines, NaN, or of another width.
            LabelError: labels that do not fit their document, a class outside the space, nothing known at all.
            OptionError: options outside their range.
        """
        self._check_options()
        x = _documents(docs)
        allowed = _allowed(labels, x, self.n_classes)
        self.n_classes_ = allowed[0].shape[1]
        together = np.concatenate(x)
        self.mean_ = together.mean(0)
        self.scale_ = float(np.sqrt(((together - self.mean_) ** 2).mean())) or 1.0
        with _own_generator(self.random_state):
            self.network_ = _network(x[0].shape[1], self.hidden, self.n_classes_, float(self.dropout))
            self._train(x, allowed, learn_chain=self.chain)
        return self

    def adapt(
        self,
        docs: Sequence[Any],
        labels: Sequence[Any],
        *,
        freeze_transitions: bool | str = "auto",
        n_classes: int | None = None,
    ) -> SequenceTagger:
        """A new tagger for another source: starts from this one's weights and trains all of them on a few documents.

        Args:
            docs, labels: as for `fit`.
            freeze_transitions: leave transitions, start and end as they are; "auto": with fewer than ten documents.
            n_classes: of the new source, where it has other classes: then emissions and transitions start anew (and are
                not frozen), and only the BiLSTM is carried over.

        Raises:
            as `fit`; DataError also for features of another width, OptionError for a tagger that was never fitted.
        """  # fmt: skip
        self._check_fitted()
        if freeze_transitions not in (True, False, "auto"):
            raise OptionError(
                found=f"freeze_transitions={freeze_transitions!r}", expected="True, False or 'auto'", fix="leave it out"
            )
        x = _documents(docs, width=len(self.mean_))
        allowed = _allowed(labels, x, self.n_classes_ if n_classes is None else n_classes)
        out = SequenceTagger(**self.get_params())
        out.n_classes_, out.mean_, out.scale_ = allowed[0].shape[1], self.mean_, self.scale_
        same = out.n_classes_ == self.n_classes_
        freeze = same and (len(x) < FEW if freeze_transitions == "auto" else bool(freeze_transitions))
        with _own_generator(self.random_state):
            out.network_ = _network(x[0].shape[1], self.hidden, out.n_classes_, float(self.dropout))
            kept = {
                name: value for name, value in self.network_.state_dict().items() if same or name.startswith("lstm")
            }
            out.network_.load_state_dict(kept, strict=False)
            out._train(x, allowed, learn_chain=self.chain and not freeze)
        return out

    def predict(self, docs: Sequence[Any]) -> list[np.ndarray]:
        """Per document the best-scoring sequence, (T_i,) int64 class ids."""
        from labelwright.learning.crf import viterbi

        return [path.numpy() for path in self._per_document(docs, viterbi)]

    def predict_proba(self, docs: Sequence[Any]) -> list[np.ndarray]:
        """Per document the marginal probabilities, (T_i, K) float64, rows sum to 1."""
        from labelwright.learning.crf import marginals

        return [p.numpy() for p in self._per_document(docs, marginals)]

    @property
    def transitions_(self) -> np.ndarray:
        return np.array(self.network_["chain"]["transitions"].detach().numpy())

    @property
    def start_(self) -> np.ndarray:
        return np.array(self.network_["chain"]["start"].detach().numpy())

    @property
    def end_(self) -> np.ndarray:
        return np.array(self.network_["chain"]["end"].detach().numpy())

    # ------------------------------------------------------------------------------------------------ behind the scenes
    def _train(self, x: list[np.ndarray], allowed: list[np.ndarray], learn_chain: bool) -> None:
        import torch

        if all(a.all() for a in allowed):
            raise LabelError(
                found=f"{len(x)} documents without a known label",
                expected="some",
                fix="label a few lines, or add rules",
            )
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(len(x))
        n_held = max(1, round(self.held_out * len(x))) if self.held_out and len(x) >= LEAST_HELD else 0
        held, train = order[:n_held], order[n_held:]
        for parameter in self.network_["chain"].parameters():
            parameter.requires_grad_(learn_chain)
        free = [p for p in self.network_.parameters() if p.requires_grad]
        adam = torch.optim.Adam(free, lr=self.learning_rate, weight_decay=self.weight_decay)
        self.trace_: list[float] = []
        best, since = self._state(), 0
        updates, look = 0, max(CHECK, -(-len(train) // self.batch_size))
        limit = self.max_updates if n_held else min(self.max_updates, BLIND)
        while updates < limit and since <= self.patience:
            for rows_ in np.array_split(rng.permutation(train), -(-len(train) // self.batch_size)):
                self.network_.train()
                adam.zero_grad()
                loss: Any = self._loss(x, allowed, rows_)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(free, 5.0)
                adam.step()
                updates += 1
                if n_held and (updates % look == 0 or updates == limit):
                    unseen = self._held_loss(x, allowed, held)
                    better = not self.trace_ or unseen < min(self.trace_)
                    self.trace_.append(unseen)
                    best, since = (self._state(), 0) if better else (best, since + 1)
                if updates == limit or since > self.patience:
                    break
        if n_held:
            self.network_.load_state_dict(best)
        self.network_.eval()

    def _state(self) -> dict[str, Any]:
        return {name: value.clone() for name, value in self.network_.state_dict().items()}

    def _loss(self, x: list[np.ndarray], allowed: list[np.ndarray], rows_: np.ndarray) -> Tensor:
        """Mean loss per line."""
        import torch

        from labelwright.learning.crf import crf_loss

        emissions, mask = self._emissions([x[i] for i in rows_])
        flags = torch.zeros(emissions.shape, dtype=torch.bool)
        for place, i in enumerate(rows_):
            flags[place, : len(allowed[i])] = torch.from_numpy(allowed[i])
        return crf_loss(emissions, *self._chain(), mask, flags).sum() / mask.sum()

    def _held_loss(self, x: list[np.ndarray], allowed: list[np.ndarray], held: np.ndarray) -> float:
        import torch

        self.network_.eval()
        with torch.no_grad():
            return float(self._loss(x, allowed, held))

    def _chain(self) -> tuple[Tensor, Tensor, Tensor]:
        chain: Any = self.network_["chain"]
        return chain["transitions"], chain["start"], chain["end"]

    def _emissions(self, x: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """(B, T, K) emissions and the (B, T) mask of a padded batch."""
        import torch
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

        scaled = [torch.from_numpy(np.asarray((one - self.mean_) / self.scale_, np.float32)) for one in x]
        lengths = torch.tensor([len(one) for one in scaled])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        net: Any = self.network_
        hidden = net["blank"](pad_sequence(scaled, batch_first=True))
        if "lstm" in net:
            packed = pack_padded_sequence(hidden, lengths, batch_first=True, enforce_sorted=False)
            hidden = net["blank"](pad_packed_sequence(net["lstm"](packed)[0], batch_first=True)[0])
        return net["out"](hidden), mask

    def _per_document(self, docs: Sequence[Any], decode: Any) -> Iterator[Tensor]:
        import torch

        self._check_fitted()
        x = _documents(docs, width=len(self.mean_))
        order = np.argsort([len(one) for one in x], kind="stable")
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            with torch.no_grad():
                emissions, mask = self._emissions([x[i] for i in part])
                chain = [p.detach().double() for p in self._chain()]
                answers = decode(emissions.double(), *chain, mask)
            found |= {int(i): answer[: len(x[i])] for i, answer in zip(part, answers)}
        return (found[i] for i in range(len(x)))

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise OptionError(found="a tagger that was never fitted", expected="a fitted one", fix="call fit first")

    def _check_options(self) -> None:
        check_whole("hidden", self.hidden, 0)
        for name in ("batch_size", "max_updates", "patience"):
            check_whole(name, getattr(self, name), 1)
        check_whole("random_state", self.random_state, 0)
        for name in ("dropout", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(
                    found=f"{name}={getattr(self, name)!r}", expected="a share in [0, 1)", fix=f"pass {name}=0.2"
                )
        if not self.learning_rate > 0:
            raise OptionError(
                found=f"learning_rate={self.learning_rate!r}", expected="above 0", fix="pass learning_rate=1e-3"
            )


def _own_generator(seed: int) -> Any:
    """A context in which torch draws from a seed, and after which its generator is as it was."""
    from contextlib import contextmanager

    import torch

    @contextmanager
    def seeded() -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield

    return seeded()


def _network(width: int, hidden: int, n_classes: int, dropout: float) -> Any:
    from torch import nn, zeros

    parts: dict[str, Any] = {"blank": nn.Dropout(dropout)}
    if hidden:
        parts["lstm"] = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
    parts["out"] = nn.Linear(2 * hidden or width, n_classes)
    chain = {"transitions": (n_classes, n_classes), "start": (n_classes,), "end": (n_classes,)}
    parts["chain"] = nn.ParameterDict({name: nn.Parameter(zeros(shape)) for name, shape in chain.items()})
    return nn.ModuleDict(parts)


# ----------------------------------------------------------------------------------------------------------- what came in
def _documents(docs: Sequence[Any], width: int | None = None) -> list[np.ndarray]:
    out = [np.asarray(doc) for doc in docs]
    if not out:
        raise DataError(found="no documents", expected="at least one", fix="pass a list of (T_i, D) arrays")
    empty = [i for i, doc in enumerate(out) if doc.ndim > 0 and not len(doc)]
    if empty:
        raise DataError(
            found=f"{len(empty)} documents with zero lines, in {rows(empty)}", expected="at least one line each", fix="drop them"
        )  # fmt: skip
    wanted = out[0].shape[-1] if width is None and out[0].ndim == 2 else width
    bad = [i for i, doc in enumerate(out) if doc.ndim != 2 or doc.dtype.kind not in "biuf" or doc.shape[1] != wanted]
    if bad:
        raise DataError(
            found=f"document {bad[0]} of shape {out[bad[0]].shape} and dtype {out[bad[0]].dtype}",
            expected=f"(T_i, {wanted or 'D'}) numbers",
            fix="make the features of all lines with one encoder",
        )
    odd = [i for i, doc in enumerate(out) if not np.isfinite(doc).all()]
    if odd:
        raise DataError(
            found=f"NaN or infinite values in {rows(odd)}", expected="finite features", fix="impute or drop them"
        )
    return [doc.astype(np.float64) for doc in out]


def _allowed(labels: Sequence[Any], x: list[np.ndarray], n_classes: int | None) -> list[np.ndarray]:
    """Per document (T_i, K) bool, from class ids or candidate sets."""
    given = [np.asarray(one) for one in labels]
    if len(given) != len(x) or any(len(g) != len(doc) for g, doc in zip(given, x)):
        raise LabelError(
            found=f"labels of {len(given)} documents for {len(x)}, or of another number of lines",
            expected="one label per line",
            fix="cut labels and features from the same lines; -1 = unknown",
        )
    sets = given[0].ndim == 2
    kind = "b" if sets else "iu"
    if any(g.ndim != given[0].ndim or g.dtype.kind not in kind for g in given):
        raise LabelError(
            found="labels of several kinds", expected="class ids for all documents, or bool candidate sets for all",
            fix="pass integers (T_i,), or bool (T_i, K)",
        )  # fmt: skip
    if n_classes is None:
        n_classes = given[0].shape[1] if sets else max(int(max(g.max() for g in given)) + 1, 1)
    if sets:
        if any(g.shape[1] != n_classes or not g.any(1).all() for g in given):
            raise LabelError(
                found="candidate sets without a class, or of another width",
                expected=f"(T_i, {n_classes}) with a class in every row",
                fix="mark every class where nothing is known",
            )
        return given
    strange = [i for i, g in enumerate(given) if g.min() < -1 or g.max() >= n_classes]
    if strange:
        raise LabelError(
            found=f"an unknown label in {rows(strange)}", expected=f"class ids 0 to {n_classes - 1}, or -1",
            fix="encode the labels, or pass n_classes",
        )  # fmt: skip
    return [(g[:, None] == np.arange(n_classes)) | (g < 0)[:, None] for g in given]
