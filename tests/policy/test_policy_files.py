"""Policy files: exact round trips, and nothing but a ValueError from any damage."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers import assert_same_policy, attempt, random_model, serve

import ttamer
from ttamer._base import files

LINE = ttamer.Topology.line(3)
DAG = ttamer.Topology.dag(3, [(0, 2), (-1, 0), (-1, 1), (1, 2)])


def policies() -> list[ttamer.Policy]:
    return [
        ttamer.solve(random_model(topology, 4, seed=21, unit="ms"), 0.7, recall)
        for topology in (LINE, ttamer.Topology.skip(3), DAG)
        for recall in ("observed", "none")
    ] + [ttamer.solve(ttamer.CascadeModel(ttamer.Topology.line(1), [[0.5]], [[[1]]], [0]), 1.0)]


POLICY = policies()[0]
DATA = POLICY._to_bytes()
HEADER = 8 + int.from_bytes(DATA[:8], "little")


def read(data: bytes) -> ttamer.Policy:
    return ttamer.Policy._from_bytes(data, "f")


class TestRoundTrip:
    @pytest.mark.parametrize("policy", policies(), ids=repr)
    def test_it_is_exact(self, policy: ttamer.Policy, tmp_path: Path) -> None:
        path = tmp_path / "policy.safetensors"
        policy.save(path)
        signals = np.random.default_rng(22).integers(0, 4, (50, policy.topology.nodes)).astype(np.float32)
        for copy in (ttamer.Policy.load(path), ttamer.Policy.load(str(path)), pickle.loads(pickle.dumps(policy))):
            assert_same_policy(copy, policy)
            assert repr(copy) == repr(policy)
            for name, values in serve(policy, signals).items():
                np.testing.assert_array_equal(serve(copy, signals)[name], values)

    def test_equal_policies_are_equal(self) -> None:
        again = [read(DATA) for _ in range(20)]
        assert all(policy == POLICY for policy in again)  # many times: the order of a header must not matter
        assert len({hash(policy) for policy in again}) == 1
        others = policies()
        assert [policy == POLICY for policy in others] == [True] + [False] * (len(others) - 1)
        assert POLICY != 3

    def test_an_observed_policy_keeps_its_ties(self) -> None:
        model = ttamer.CascadeModel(ttamer.Topology.line(2), [[0.5], [0.5]], [[[1]], [[1]]], [0, 0], bin_edges=[[], []])
        kept = read(ttamer.solve(model, 0.5)._to_bytes())
        batch = kept.start(1)
        batch.decide(0, np.array([2], np.float32))
        assert kept._core.observed
        assert batch.answer_node.tolist() == [0]

    def test_it_replaces_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.safetensors"
        path.write_bytes(b"old")
        POLICY.save(path)
        assert_same_policy(ttamer.Policy.load(path), POLICY)
        assert [file.name for file in tmp_path.iterdir()] == ["policy.safetensors"]

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            ttamer.Policy.load(tmp_path / "nowhere.safetensors")


class TestDamage:
    def test_truncated(self, tmp_path: Path) -> None:
        path = tmp_path / "short.safetensors"
        for length in [*range(0, HEADER, 13), *range(HEADER, len(DATA), 101), len(DATA) - 1]:
            path.write_bytes(DATA[:length])
            with pytest.raises(ValueError, match=r"short\.safetensors: not a readable safetensors file"):
                ttamer.Policy.load(path)

    def test_something_after_the_end(self) -> None:
        with pytest.raises(ValueError, match=r"^f: not a readable safetensors file"):
            read(DATA + b"\0")

    @pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80])
    def test_any_flipped_bit(self, mask: int) -> None:
        """Every byte of the header and many of the tables: an error, or nothing lost."""
        for k in [*range(HEADER), *range(HEADER, len(DATA), 5)]:
            broken = DATA[:k] + bytes([DATA[k] ^ mask]) + DATA[k + 1 :]
            found = attempt(lambda broken=broken: read(broken))
            if isinstance(found, ValueError):
                assert str(found).startswith("f: ")
            else:
                assert_same_policy(found, POLICY)

    @pytest.mark.parametrize(
        "data", [b"", b"\0" * 8, b"\xff" * 64, b"PK\x03" + b"\0" * 100, b"{}", b"\x02" + b"\0" * 7 + b"{}"]
    )
    def test_not_safetensors(self, data: bytes) -> None:
        with pytest.raises(
            ValueError, match=r"^f: (not a readable safetensors file|a safetensors file, but not one of)"
        ):
            read(data)

    def test_a_zip_archive(self) -> None:
        with pytest.raises(ValueError, match=r"^f: expected a policy file, got a zip archive, as Traces.save writes$"):
            read(b"PK\x03\x04" + b"\0" * 100)

    def test_another_program_s_file(self) -> None:
        with pytest.raises(ValueError, match="f: a safetensors file, but not one of ttamer's"):
            read(safetensors.numpy.save({"weights": np.zeros(3)}))
        with pytest.raises(ValueError, match="f: a safetensors file, but not one of ttamer's"):
            read(safetensors.numpy.save({"weights": np.zeros(3)}, metadata={"format": "pt"}))

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "3", "{}", "null", '{"kind": "policy"}', "[" * 100_000, "1" * 5000]
    )
    def test_damaged_metadata(self, text: str) -> None:
        data = safetensors.numpy.save({"levels": np.zeros(3)}, metadata={"ttamer": text, "sha256": ""})
        with pytest.raises(ValueError, match="f: damaged metadata"):
            read(data)

    def test_another_kind(self, tmp_path: Path) -> None:
        random_model(LINE, 2, seed=23).save(tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=r"model\.safetensors: expected a policy file, got a model file"):
            ttamer.Policy.load(tmp_path / "model.safetensors")

    @pytest.mark.parametrize("version", [0, 6, "1", None])
    def test_another_version(self, version: Any) -> None:
        data = files.to_bytes("policy", version, {}, {"levels": np.zeros(1)})
        with pytest.raises(ValueError, match=f"f: policy format version {version}, this ttamer reads versions 1 to 5"):
            read(data)

    def test_tables_that_are_not_the_digest_s(self) -> None:
        metadata = json.loads(DATA[8:HEADER])["__metadata__"]
        arrays = safetensors.numpy.load(DATA)
        assert_same_policy(read(safetensors.numpy.save(arrays, metadata=metadata)), POLICY)
        for changes in (
            {"ranks": np.zeros_like(arrays["ranks"])},
            {"ranks": arrays["interval_upper"], "interval_upper": arrays["ranks"]},
            {"costs": arrays["costs"].astype(np.float32)},
            {"more": np.zeros(1)},
        ):
            with pytest.raises(ValueError, match="f: damaged, the tables do not match their digest"):
                read(safetensors.numpy.save({**arrays, **changes}, metadata=metadata))

    def test_equal_policies_are_equal_files(self) -> None:
        assert len({POLICY._to_bytes() for _ in range(20)}) == 1
