from hypothesis import given
from hypothesis import strategies as st

from labelwright.stream import Statistic, chunks, fold


@given(st.integers(0, 100), st.integers(1, 10), st.integers(1, 50))
def test_chunks_cover_every_row_once(n, k, entries):
    pieces = list(chunks(n, k, entries=entries))
    assert [i for piece in pieces for i in range(n)[piece]] == list(range(n))
    assert all((piece.stop - piece.start) * k <= max(entries, k) for piece in pieces)


class Total:
    def __init__(self):
        self.sum = 0

    def update(self, values):
        self.sum += sum(values)

    def merge(self, other):
        self.sum += other.sum

    def result(self):
        return self.sum


def test_fold_feeds_every_part():
    assert isinstance(Total(), Statistic)
    assert fold(Total(), [[1, 2], [3]]) == 6
