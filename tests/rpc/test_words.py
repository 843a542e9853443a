from __future__ import annotations

import re
from enum import IntEnum

import pytest

from pushrpc import words
from pushrpc.v1 import enums_pb2

ENUMS = [
    kind
    for kind in vars(words).values()
    if isinstance(kind, type) and kind.__module__ == words.__name__ and issubclass(kind, IntEnum)
]


def name_in_contract(kind: type[IntEnum]) -> str:
    return "Outcome" if kind is words.OutcomeKind else kind.__name__


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_words_are_the_contracts_number_by_number_and_name_by_name(kind: type[IntEnum]) -> None:
    contract = enums_pb2.DESCRIPTOR.enum_types_by_name[name_in_contract(kind)]
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", contract.name).upper() + "_"
    assert {value.name: value.number for value in contract.values} == {prefix + word.name: word.value for word in kind}


def test_every_enum_of_the_contract_has_its_words() -> None:
    assert set(enums_pb2.DESCRIPTOR.enum_types_by_name) == {name_in_contract(kind) for kind in ENUMS}
