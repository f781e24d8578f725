"""What comes from outside the text or from an earlier pass: an encoder's output, projected once; layers that run twice."""

import pytest
from pydantic import ValidationError

from kvcalc.catalog import load_model
from kvcalc.ledger import Entry, ledger
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

WHISPER = load_model("whisper-large-v3")
LOOP = load_model("iquest-coder-v1-40b-loop")


def entries(model: ModelSpec, scenario: Scenario, *names: str) -> list[Entry]:
    return [entry for entry in ledger(model, scenario).entries if entry.name in names]


class TestAnEncodersOutput:
    """Whisper: 1,500 positions, 32 layers, keys and values of 1,280 elements in 16 bits."""

    rows = 32 * 1500 * 2 * 1280 * 2
    projections = 2 * 32 * 1500 * 2 * 1280 * 1280

    @pytest.mark.parametrize("steady", [False, True])
    def test_the_first_token_projects_and_writes_it_and_later_ones_read_it(self, steady: bool) -> None:
        first, later = Scenario(context=1, steady=steady), Scenario(context=100, steady=steady)
        for scenario, times in ((first, 1), (later, 0)):
            cross = entries(WHISPER, scenario, "cross_key", "cross_value")
            assert sum(entry.read_bytes for entry in cross) == self.rows
            assert sum(entry.written_bytes for entry in cross) == times * self.rows
            projections = entries(WHISPER, scenario, "cross_k_proj", "cross_v_proj")
            assert sum(entry.flops for entry in projections) == times * self.projections
            assert sum(entry.read_bytes for entry in projections) == times * sum(entry.weight_bytes for entry in projections)

    @pytest.mark.parametrize("chunk", [None, 50])
    def test_a_prompt_projects_it_once_and_every_token_attends_to_all_of_it(self, chunk: int | None) -> None:
        scenario = Scenario("prefill", context=200, chunk=chunk)
        projections = entries(WHISPER, scenario, "cross_k_proj", "cross_v_proj")
        assert sum(entry.flops for entry in projections) == self.projections
        scores = entries(WHISPER, scenario, "cross_scores", "cross_value mix")
        assert sum(entry.flops for entry in scores) == 200 * 32 * 1500 * 4 * 1280

    def test_its_bytes_are_the_same_for_any_text(self) -> None:
        for context in (1, 448):
            cross = entries(WHISPER, Scenario(context=context), "cross_key", "cross_value")
            assert sum(entry.state_bytes for entry in cross) == self.rows


class TestALoop:
    def test_weights_are_stored_once_and_read_and_multiplied_in_every_pass(self) -> None:
        for name in ("q_proj", "k_proj", "o_proj", "up_proj", "down_proj", "layer_norms"):
            first, again = entries(LOOP, Scenario(), name)
            assert (again.parameters, again.active_parameters, again.weight_bytes) == (0, 0, 0)
            assert (again.read_bytes, again.flops) == (first.read_bytes, first.flops) == (first.weight_bytes, again.flops)

    def test_a_pass_stores_what_the_first_has_not(self) -> None:
        (gate,) = entries(LOOP, Scenario(), "loop_gate")
        assert gate.parameters == 80 * 40 * 128

    def test_a_further_pass_reads_the_first_ones_rows_and_keeps_a_window(self) -> None:
        state = {(entry.group, entry.name): entry for entry in ledger(LOOP, Scenario(context=5000)).entries if entry.role}
        first, again, own = state["full", "key"], state["loop (again)", "key"], state["loop (again)", "key_loop"]
        assert (again.state_bytes, again.written_bytes, again.read_bytes) == (0, 0, first.read_bytes)
        assert (own.slots, own.state_bytes) == (64, 80 * 64 * 1024 * 2)

    def test_outside_a_further_pass_it_has_no_rows_to_read(self) -> None:
        data = LOOP.model_dump()
        data["layers"] = [{"of": ["80 loop"], "feedforward": "mlp"}]
        del data["attention"]["full"]
        with pytest.raises(ValidationError, match="reads key rows of another layer"):
            ModelSpec.model_validate(data)

    def test_it_runs_the_weights_of_the_first(self) -> None:
        data = LOOP.model_dump()
        data["attention"]["loop"]["head_dim"] = 64
        with pytest.raises(ValidationError, match="its weights are not those of that layer"):
            ModelSpec.model_validate(data)

    def test_rows_of_another_width_cannot_be_read(self) -> None:
        data = LOOP.model_dump()
        data["attention"]["full"]["window"] = 512
        with pytest.raises(ValidationError, match="owns no key rows of the same kind"):
            ModelSpec.model_validate(data)


def test_a_layer_that_runs_anothers_tensor_reads_it_as_it_is_stored() -> None:
    """Zamba2 stores two blocks, and runs them in seven further layers."""
    data = load_model("zamba2-2.7b").model_dump()
    data["storage"]["weights"]["attention.q_proj"] = ["2 q8_0"]
    model = ModelSpec.model_validate(data)
    stored, again = entries(model, Scenario(context=100), "q_proj")
    assert (stored.format, again.format) == ("q8_0", "q8_0")
    assert again.weight_bytes == 0 and 2 * again.read_bytes == 7 * stored.weight_bytes
