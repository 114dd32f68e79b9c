"""Search of the catalogue by meaning: words, synonyms of the field (`concepts.toml`), names and numbers; no model."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources

from labelwright.errors import OptionError, check_whole
from labelwright.systems.catalogue import System, catalogue

Span = tuple[int, int]  # first and last place of a phrase in a list of stems
Term = tuple[str, str]  # ("concept" | "word" | "pair", what); a pair is two words that stand together
Facet = dict[Term, float]  # one thing a query asks for: its terms and their weights

CONCEPT = 1.5  # weight of a concept that query and system share
WORD = 1.0  # of a word that both use
WORD_IN_CONCEPT = 0.4  # of such a word where its concept counts already
PAIR = 0.3
TAG = 2.0  # of a mention in `evidence` or `structure`, where one in a text has 1
ANY_DATA = {"images": 0.3, "text": 0.3, "tables": 0.3}  # what "any" in `data` mentions
HALF = 3.0  # so many mentions count half of what endless ones would
RARE = 2.5  # facets with a term of at least this idf count fully; the idf of what a twelfth of all systems mention
CORE = 0.4  # facets with at least this weight are wanted of every system
MET = 0.3  # a system meets a facet with this share of the best system's score for it
TAIL = 0.2  # systems with less than this share of the best total are left out
KNOWN = 0.5  # queries of which we do not know more than this share of the words get no answer
TYPO = 0.6  # share of a known word that a misspelt one counts
LIKE = 0.85  # a word at least so like a known one (difflib) is taken for it

CLAUSE = re.compile(r"[^\w\s#'-]+")
AGAINST = re.compile(r"\s*(?:but not|not|rather than|instead of)\b", re.IGNORECASE)  # clauses about what is not wanted
JOINTS = frozenset(["and", "with", "for", "but", "from", "in", "when", "while", "under", "into", "on", "or", "by"])


def search(query: str, *, limit: int = 10, systems: Sequence[System] | None = None) -> list[System]:
    """The systems that a query in words asks for, best first.

    A query is cut into facets at commas and at words such as "and", "with", "for". Systems that meet every facet come
    before those that meet one of them very well. A name or number finds its system first.

    Args:
        query: in English: what one has, what one wants; or a system's name or number.
        limit: answers at most.
        systems: where to search; None: the whole catalogue.

    Returns:
        [] where nothing fits, and for queries of which half of the words or more are unknown.

    Raises:
        OptionError: a blank query.

    Source: idf and saturation as in BM25 (Robertson & Zaragoza 2009), without length normalisation: all systems are
    described at about the same length.

    >>> [s.name for s in search("galaxies, volunteers", limit=1)]
    ['zoobot']
    """
    if not query.strip():
        raise OptionError(
            found=f"query={query!r}",
            expected="what you have or want, in words",
            fix='for example search("crowd workers, ordered classes"); `catalogue()` lists every system',
        )
    check_whole("limit", limit, 1)
    index = _index(catalogue() if systems is None else tuple(systems))
    number = re.fullmatch(r"\W*(?:(?:system|number|no|card)\W+)?0*([1-9][0-9]*)\W*", query.lower())
    if number:
        return [s for s in index.systems if s.number == int(number[1])]
    return list(dict.fromkeys([*index.named(query), *index.ranked(query)]))[:limit]


# --- words and concepts ---------------------------------------------------------------------------------------------


_ENDINGS = (  # ending, what stands instead, letters that must remain before it; the first that fits is taken
    ("sses", "ss", 1), ("xes", "x", 2), ("ches", "ch", 2), ("shes", "sh", 2), ("ies", "y", 2),
    ("ss", "ss", 0), ("us", "us", 0), ("is", "is", 0), ("s", "", 3),
    ("ification", "ify", 2), ("ifier", "ify", 2), ("ization", "", 4), ("izer", "", 4), ("ized", "", 4),
    ("izing", "", 4), ("ize", "", 4), ("ise", "", 4), ("ised", "", 4), ("ising", "", 4), ("ation", "", 4),
    ("ator", "", 4), ("ated", "", 4), ("ating", "", 4), ("ative", "", 4), ("ate", "", 4), ("ical", "", 4),
    ("ly", "", 4), ("ity", "", 4), ("ty", "", 5), ("ment", "", 4), ("ness", "", 4), ("ion", "", 4), ("ing", "", 3),
    ("ied", "y", 2), ("ed", "", 3), ("er", "", 5), ("or", "", 4), ("ive", "", 4),
)  # fmt: skip
_BY_LETTER = {letter: [e for e in _ENDINGS if e[0][-1] == letter] for letter in {e[0][-1] for e in _ENDINGS}}


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its English endings. Crude, and no word itself, but the same for all forms of a word.

    "worker" and "rater" keep their ending: they are other things than "work" and "rate".

    >>> {stem(w) for w in ("annotate", "annotator", "annotators", "annotation", "annotated", "annotating")}
    {'annot'}
    """
    word = _shorter(_shorter(word.replace("isation", "ization")))  # twice, for "classifiers"
    if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "aeious":
        word = word[:-1]  # "labelling", "labeling"; "miss" keeps both, to stay apart from "mis-"
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word


def _shorter(word: str) -> str:
    for ending, instead, least in _BY_LETTER.get(word[-1:], ()):
        if word.endswith(ending) and len(word) - len(ending) >= least:
            shorter = word[: len(word) - len(ending)] + instead
            return shorter if any(c in "aeiouy" for c in shorter) else word  # "string" is no form of "str"
    return word


def raw_words(text: str) -> list[str]:
    """Lower-case words without accents; hyphens part them.

    >>> raw_words("Semi-supervised Fréchet mean")
    ['semi', 'supervised', 'frechet', 'mean']
    """
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.findall(r"[^\W_]+", text.lower())


class _Lexicon:
    """The words and phrases of `concepts.toml`.

    plain: words without meaning, dropped everywhere.   spelling: word or stem -> the stems that stand for it.
    stems: all stems of its phrases.
    """

    def __init__(self, found: dict[str, dict[str, str]]):
        self.plain = frozenset(found["plain"]["words"].split())
        self.spelling = {k: [stem(w) for w in v.split()] for k, v in found["spelling"].items()}
        phrases = [
            (frozenset(self.of_text(phrase)), concept)
            for concept, text in found["concept"].items()
            for phrase in text.split(",")
        ]
        common = Counter(s for stems, _ in phrases for s in stems)
        self.stems = frozenset(common)
        self._phrases: dict[str, set[tuple[frozenset[str], str]]] = defaultdict(set)
        for stems, concept in phrases:  # filed under the stem that fewest phrases have, to look few of them up
            self._phrases[min(stems, key=lambda s: (common[s], s))].add((stems, concept))

    def of_word(self, word: str) -> list[str]:
        """Its stem; several where it is one of the words written in one or in two ("dataset")."""
        forms = (word, word.removesuffix("s"), stem(word))
        return next((self.spelling[f] for f in forms if f in self.spelling), [stem(word)])

    def of_text(self, text: str) -> list[str]:
        """The stems of its words, without plain words."""
        return [s for w in raw_words(text) if w not in self.plain for s in self.of_word(w)]

    def concepts(self, stems: Sequence[str], slack: int) -> dict[str, list[Span]]:
        """The concepts that a text speaks of, and where: all words of a phrase stand together, in any order.

        Args:
            stems: of the text.   slack: other words that may stand between those of a phrase.
        """
        found: dict[str, list[Span]] = defaultdict(list)
        present = set(stems)
        for s in present:
            for phrase, concept in self._phrases.get(s, ()):
                if phrase <= present:
                    found[concept].extend(_places(phrase, stems, slack))
        return {concept: spans for concept, spans in found.items() if spans}


def _places(phrase: frozenset[str], stems: Sequence[str], slack: int) -> list[Span]:
    if len(phrase) == 1:
        return [(i, i) for i, s in enumerate(stems) if s in phrase]
    places = []
    for i, s in enumerate(stems):
        window = stems[i : i + len(phrase) + slack] if s in phrase else ()
        if phrase.issubset(window):
            places.append((i, i + max(window.index(p) for p in phrase)))
    return places


def _longest(concepts: dict[str, list[Span]]) -> dict[str, list[Span]]:
    """Without the phrases that lie inside a longer one: "five point scale" does not speak of points."""
    spans = {span for found in concepts.values() for span in found}
    inside = {(a, b) for a, b in spans if any(c <= a and b <= d and (c, d) != (a, b) for c, d in spans)}
    return {concept: kept for concept, found in concepts.items() if (kept := [s for s in found if s not in inside])}


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    """The lexicon of the package."""
    text = resources.files("labelwright.systems").joinpath("concepts.toml").read_text(encoding="utf-8")
    return _Lexicon(tomllib.loads(text))


# --- the index of the systems ---------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _index(systems: tuple[System, ...]) -> _Index:
    return _Index(systems)


class _Index:
    """What each system's description mentions.

    mentions: term -> {row of the system: weighted count}.   vocabulary: known stem -> the words that have it.
    names: name as one string -> rows.
    """

    def __init__(self, systems: tuple[System, ...]):
        self.systems, self.lexicon = systems, _lexicon()
        self.mentions: dict[Term, dict[int, float]] = defaultdict(dict)
        self.vocabulary: dict[str, set[str]] = defaultdict(set, {s: set() for s in self.lexicon.stems})
        self.names: dict[str, list[int]] = defaultdict(list)
        for row, system in enumerate(systems):
            for name in {_joined(name) for name in _names(system)} - {""}:
                self.names[name].append(row)
            for segment, weight in _segments(system):
                self._add(row, segment, weight)
        for name in self.names.keys() - self.vocabulary.keys():  # "tail" and "filter" stay the words they are
            self.vocabulary[name].add(name)
            self.mentions["word", name] = dict.fromkeys(self.names[name], TAG)

    def _add(self, row: int, segment: str, weight: float) -> None:
        stems = self.lexicon.of_text(segment)
        for word in set(raw_words(segment)) - self.lexicon.plain:
            for s in self.lexicon.of_word(word):
                self.vocabulary[s].add(word)
        terms: set[Term] = {("word", s) for s in stems} | {("pair", f"{a} {b}") for a, b in zip(stems, stems[1:])}
        for term in terms | {("concept", c) for c in self.lexicon.concepts(stems, slack=1)}:
            self.mentions[term][row] = self.mentions[term].get(row, 0.0) + weight

    def idf(self, term: Term) -> float:
        df, n = len(self.mentions.get(term, ())), len(self.systems)
        return math.log(1 + (n - df + 0.5) / (df + 0.5)) if df else 0.0

    def named(self, query: str) -> list[System]:
        """Systems whose name, or the beginning of whose name, the whole query is."""
        words = raw_words(query)
        rows = self.names.get("".join(words), [])
        if rows or len(words) < 2:
            return [self.systems[row] for row in rows]
        return [s for s in self.systems if s.name.startswith("-".join(words) + "-")]

    def ranked(self, query: str) -> list[System]:
        """Systems by meaning: those that meet every facet first, then by the sum of their shares of the best scores."""
        total = [0.0] * len(self.systems)
        unmet = [False] * len(self.systems)
        for facet in self.facets(query):
            scores = self.scores(facet)
            best = max(scores.values())
            weight = min(1.0, max(map(self.idf, facet)) / RARE)
            for row in range(len(self.systems)):
                share = scores.get(row, 0.0) / best
                total[row] += weight * share
                unmet[row] |= weight >= CORE and share < MET
        least = TAIL * max(total, default=0.0)
        rows = [row for row, t in enumerate(total) if t > least]
        return [self.systems[row] for row in sorted(rows, key=lambda row: (unmet[row], -total[row], row))]

    def scores(self, facet: Facet) -> dict[int, float]:
        """Row -> score; each further mention of a term counts less."""
        scores: dict[int, float] = defaultdict(float)
        for term, weight in facet.items():
            for row, count in self.mentions.get(term, {}).items():
                scores[row] += weight * self.idf(term) * count / (count + HALF)
        return scores

    def facets(self, query: str) -> list[Facet]:
        """What a query asks for; [] where too few of its words are known."""
        facets: list[Facet] = []
        known, words = 0.0, 0
        clauses = [c for c in CLAUSE.split(query) if c.strip()]
        for clause in [c for c in clauses if not AGAINST.match(c)] or clauses:
            stems: list[str] = []
            joints = set()
            for word in raw_words(clause):
                if word in JOINTS:
                    joints.add(len(stems))
                if word not in self.lexicon.plain:
                    found, sure = self.known(word)
                    stems.extend(found)
                    known, words = known + sure, words + (sure > 0 or not word.isdigit())
            facets.extend(self._facets(stems, joints))
        return facets if known > KNOWN * words else []

    def _facets(self, stems: list[str], joints: set[int]) -> Iterator[Facet]:
        """The facets of one clause: cut at its joints, except where a phrase of the lexicon reaches over one."""
        concepts = _longest(_sound(self.lexicon.concepts(stems, slack=2), joints))
        spans = [span for found in concepts.values() for span in found]
        cuts = sorted({c for c in joints if not any(a < c <= b for a, b in spans)} | {0, len(stems)})
        for start, end in zip(cuts, cuts[1:]):
            told = {i for a, b in spans for i in range(a, b + 1)}
            facet: Facet = {("concept", c): CONCEPT for c, found in concepts.items() if _any_in(found, start, end)}
            facet |= {("word", stems[i]): WORD_IN_CONCEPT if i in told else WORD for i in range(start, end)}
            facet |= {("pair", f"{a} {b}"): PAIR for a, b in zip(stems[start:end], stems[start + 1 : end])}
            if any(map(self.idf, facet)):
                yield facet

    def known(self, word: str) -> tuple[list[str], float]:
        """A word's stems and how sure we are of them: 1; `TYPO` for a misspelt word; 0 for one we do not know."""
        stems = self.lexicon.of_word(word)
        if all(s in self.vocabulary for s in stems):
            return stems, 1.0
        if len(word) < 5:
            return stems, 0.0
        choices = sorted({w for words in self.vocabulary.values() for w in words if w[0] == word[0]})
        swapped = [w for w in choices if sorted(w) == sorted(word)]  # two letters in the wrong order
        close = swapped or difflib.get_close_matches(word, choices, n=1, cutoff=LIKE)
        return (self.lexicon.of_word(close[0]), TYPO) if close else (stems, 0.0)


def _sound(concepts: dict[str, list[Span]], joints: set[int]) -> dict[str, list[Span]]:
    """Without the phrases that reach over a joint between words that belong to phrases on their own side: in "noisy
    labels and rare classes" there are no rare labels."""

    def over(span: Span) -> bool:
        return any(span[0] < c <= span[1] for c in joints)

    taken = {i for found in concepts.values() for a, b in found if a < b and not over((a, b)) for i in range(a, b + 1)}
    kept = {c: [s for s in found if not (over(s) and taken.issuperset(s))] for c, found in concepts.items()}
    return {concept: found for concept, found in kept.items() if found}


def _any_in(spans: list[Span], start: int, end: int) -> bool:
    return any(start <= first < end for first, _ in spans)


def _joined(text: str) -> str:
    return "".join(raw_words(text))


def _names(system: System) -> Iterable[str]:
    """What people call it: "FKD" and "FerKD" for "FerKD, with its base FKD: A Fast Knowledge Distillation Framework"."""
    head = system.title.split(":")[0] if ":" in system.title else ""
    yield system.name
    yield from re.findall(r"\(([^)]*)\)", head)
    yield from re.split(r" / |, ", re.sub(r"\([^)]*\)", "", head))
    yield from re.findall(r"[\w+-]*[A-Z][\w+-]*[A-Z][\w+-]*", head)


def _segments(system: System) -> Iterator[tuple[str, float]]:
    """The pieces of a system's description, with weights. Its short name is left out: "tail" is no word there."""
    for text in (system.title.split(":", 1)[-1], system.line, *system.about.split(",")):
        yield text, 1.0
    for text in system.evidence:
        yield text, TAG
    for text in system.structure:
        yield f"{text} labels", TAG  # a bare "ordered" would be at one with the order of words
    for kind in system.data:
        yield from ANY_DATA.items() if kind == "any" else [(kind, 1.0)]
