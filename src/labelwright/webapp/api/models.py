"""What the JSON API takes and gives beside the plain views: every text has a longest length, every number a range."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from labelwright.webapp.answers import MOST_COMMENT, Answer
from labelwright.webapp.views import Conflict

MOST_CLASSES = 1000


def no_nul(text: str) -> str:
    """`text`, unless it holds a NUL, which no database keeps."""
    if "\x00" in text:
        raise ValueError("a NUL character")
    return text


Short = Annotated[str, Field(max_length=200), AfterValidator(no_nul)]
Key = Annotated[str, Field(min_length=1, max_length=2000, description="key of an item"), AfterValidator(no_nul)]
Ticket = Annotated[str, Field(min_length=1, max_length=200, description="token of a lease"), AfterValidator(no_nul)]
ClientId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9._:-]{8,100}$",
        description="chosen by the client, new for each answer and the same when it is sent again: it is counted once",
    ),
]
ClassName = Annotated[Short, Field()] | Annotated[int, Field(ge=-(2**53), le=2**53)] | float | bool


class Request(BaseModel):
    """A body: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Problem(BaseModel):
    """What was found, what was expected, and how to mend it."""

    found: str
    expected: str
    fix: str


class AnswerBody(Request):
    """What is said of an item: see `Answer`."""

    kind: Literal["keep", "class", "classes", "distribution", "move", "unsure", "none"]
    classes: list[ClassName] = Field(default=[], max_length=MOST_CLASSES)
    shares: list[Annotated[float, Field(ge=0, le=1)]] = Field(default=[], max_length=MOST_CLASSES)
    comment: Annotated[str, Field(max_length=MOST_COMMENT), AfterValidator(no_nul)] = ""
    severity: Literal["", "not a mistake", "minor", "major"] = ""
    why: Literal[
        "", "fine-grained", "out of vocabulary", "spurious cue", "non-prototypical", "ambiguous", "other"
    ] = ""  # fmt: skip

    def answer(self, classes: tuple[Any, ...]) -> Answer:
        """It as an `Answer` whose classes are those of the label space, not merely equal to them (1 is not True)."""
        own = {(type(name), name): name for name in classes}
        named = tuple(own.get((type(name), name), _Unknown(name)) for name in self.classes)
        return Answer(self.kind, named, tuple(self.shares), self.comment, self.severity, self.why)


class _Unknown:
    """A class that is not in the space: equal to nothing, shown as it came."""

    def __init__(self, name: Any):
        self.name = name

    def __repr__(self) -> str:
        return repr(self.name)[:80]


class FiltersBody(Request):
    """Which items to be given."""

    label: Short | None = Field(default=None, description="only items with this given label")
    suggested: Short | None = Field(default=None, description="only items whose likeliest class is this one")
    kind: Short | None = Field(default=None, description="only items of this kind of issue")


class NextBody(Request):
    """Which item to lease."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"stream": "repair", "ahead": 0}]})
    stream: Literal["estimation", "repair", "adjudication"] = "repair"
    ahead: int = Field(default=0, ge=0, le=3, description="1: one more behind the item in work, to load it early")
    filters: FiltersBody | None = None


class LeasedAnswer(Request):
    """An answer to a leased item."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "token": "f3a9c0",
                    "answer": {"kind": "class", "classes": ["cat"], "severity": "minor"},
                    "client_id": "laptop-000017",
                    "seconds": 2.4,
                }
            ]
        }
    )
    token: Ticket
    answer: AnswerBody
    client_id: ClientId
    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = Field(default=None, description="time it took to answer")


class ItemAnswer(Request):
    """An answer to an item by its key, with no lease."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"item": "photo-17.jpg", "answer": {"kind": "keep"}, "client_id": "laptop-000018"}]
        }
    )
    item: Key
    answer: AnswerBody
    client_id: ClientId


class Token(Request):
    """A lease to give back."""

    token: Ticket


class FlagBody(Request):
    """A mark on an item that somebody should look at."""

    item: Key
    comment: Annotated[str, Field(max_length=MOST_COMMENT), AfterValidator(no_nul)] = ""
    on: bool = Field(default=True, description="false takes the flag away")


class CompareBody(Request):
    """Which of the two labels is better."""

    token: Ticket
    better: Literal["first", "second", "same"]
    client_id: ClientId


class UserBody(Request):
    """A new account."""

    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(no_nul)]
    password: Annotated[str, Field(min_length=10, max_length=1000)]
    role: Literal["annotator", "adjudicator", "owner"] = "annotator"


class UserChange(Request):
    """What changes of an account; each of these ends its sessions."""

    role: Literal["annotator", "adjudicator", "owner"] | None = None
    active: bool | None = None
    password: Annotated[str, Field(min_length=10, max_length=1000)] | None = None


class TokenBody(Request):
    """A new API token."""

    name: Annotated[str, Field(pattern=r"^[\w.@ -]{1,60}$", description="what it is for, such as the script's name")]
    user_id: int | None = Field(default=None, ge=1, le=2**31 - 1, description="for whom; owners may name others")


class AccountView(BaseModel):
    """An account without its password."""

    id: int
    name: str
    role: str
    active: bool


class TokenView(BaseModel):
    """A token as it is listed: its secret is shown once, when it is made."""

    id: str
    name: str
    user_id: int
    created: datetime
    last_used: datetime | None


class NewToken(TokenView):
    """A token that was just made, with its secret."""

    token: str


class Conflicts(BaseModel):
    """A page of items on which reviewers disagree."""

    conflicts: list[Conflict]
    total: int
    page: int


class Task(BaseModel):
    """Who asks, and what there is to review."""

    user: str
    role: str
    name: str
    audit: str
    classes: list[Any]
    multi: bool
    streams: list[str]
    kinds: list[str]
    severities: list[str]
    whys: list[str]
    links: dict[str, str]


class Hits(BaseModel):
    """A page of search results."""

    rows: list[dict[str, Any]]
    total: int
    page: int
    per_page: int


class Flushed(BaseModel):
    """How many answers went into the repository."""

    flushed: int


class Done(BaseModel):
    """It is done."""

    done: bool = True
