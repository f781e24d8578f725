"""What a query reads of blocks: the laws of the sparse kinds against masks made by rule, and against what their models state."""

import pytest
from pydantic import ValidationError

from kvcalc.attention.block_sparse import BlockSparse
from kvcalc.attention.dsa import DSA
from kvcalc.attention.infllm2 import InfLLM2
from kvcalc.attention.kpool_dsa import KPoolDSA
from kvcalc.attention.mla import MLA
from kvcalc.attention.qsa import QSA
from kvcalc.catalog import load_model
from kvcalc.kind import Attention, Site
from kvcalc.ledger import ledger
from kvcalc.scenario import Scenario
from kvcalc.slots import NONE, Law

SITE = Site(4096, 1000, 32)
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
LATENT = {"num_attention_heads": 8, "q_lora_rank": 64, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "v_head_dim": 16}
INDEX = {"index_n_heads": 4, "index_head_dim": 8, "index_topk": 16}


def read(part: Attention, name: str) -> Law:
    return next(row.read for row in part.rows(SITE) if row.name == name)


def of(model: str, attention: str) -> Attention:
    return load_model(model).attention[attention]


@pytest.mark.parametrize("t", [1, 63, 64, 65, 1024, 1025, 1087, 1088, 1089, 2000, 8192])
def test_static_blocks_read_what_the_mask_of_the_reference_allows(t: int) -> None:
    """Block k is allowed to head h in one of the last 16 blocks, and where (k + h + 1) divides by 8."""
    part = of("phi-3-small-8k", "sparse")
    newest = (t - 1) // 64
    of_heads, of_kv_heads = 0, 0
    for kv_head in range(8):
        together: set[int] = set()
        for head in range(4 * kv_head, 4 * kv_head + 4):
            blocks = [k for k in range(newest + 1) if newest - k < 16 or (k + head + 1) % 8 == 0]
            tokens = {token for k in blocks for token in range(64 * k, min(64 * (k + 1), t))}
            of_heads += len(tokens)
            together |= tokens
        of_kv_heads += len(together)
    assert of_kv_heads == 8 * read(part, "key").count(t)
    assert [of_heads == 32 * work.read.count(t) for work in part.work(SITE)] == [True, True]


@pytest.mark.parametrize(
    ("model", "attention", "row", "context", "tokens"),
    [
        ("ring-mini-sparse-2.0", "sparse", "key", 65536, 8192),  # the card: "only 8,192 key-value tokens"
        ("minimax-m3", "sparse", "key", 131072, 16 * 128),
        ("minimax-m3", "sparse", "key", 131073, 15 * 128 + 1),
        ("step-5-preview", "sparse", "key", 131072, 513 * 8),
        ("qwen3.8-flash-next", "sparse", "value", 131075, 2048 + 3),
        ("glm-5.3-flash", "sparse", "latent", 131075, 2048 + 3),
        ("minicpm-sala", "sparse", "key", 8191, 8191),
        ("minicpm-sala", "sparse", "key", 8192, (64 + 32) * 64),
    ],
)
def test_a_query_reads_the_blocks_that_its_config_names(model: str, attention: str, row: str, context: int, tokens: int) -> None:
    assert read(of(model, attention), row).count(context) == tokens


def test_means_of_keys_are_made_once_their_kernel_is_full() -> None:
    part = of("minicpm-sala", "sparse")
    assert isinstance(part, InfLLM2)
    for name, kernel, stride in (("index_key", 32, 16), ("index_key_coarse", 128, 64)):
        held = next(row.held for row in part.rows(SITE) if row.name == name)
        assert [held.count(t) for t in (kernel - 1, kernel, kernel + stride - 1, kernel + stride)] == [0, 1, 1, 2]
        assert read(part, name).count(8191) == 0 == NONE.count(8191)
        assert read(part, name).count(8192) == (8192 - kernel) // stride + 1


def test_a_shared_indexer_keeps_no_index_keys_and_does_no_work_but_reads_as_few_latents() -> None:
    full, shared = (
        DSA.model_validate({"kind": "dsa", **LATENT, **INDEX, "qk_rope_head_dim": 8, "indexer_type": kind})
        for kind in ("full", "shared")
    )
    assert {row.name for row in full.rows(SITE)} - {row.name for row in shared.rows(SITE)} == {"index_key"}
    assert "indexer" not in {weight.piece for weight in shared.weights(SITE)} | {work.piece for work in shared.work(SITE)}
    assert read(shared, "latent") == read(full, "latent")
    assert shared.without(SITE)["indexer"] == full.without(SITE)["indexer"]
    assert DSA.model_validate(shared.without(SITE)["index-sharing"]) == full and "index-sharing" not in full.without(SITE)


def test_a_layer_that_reads_anothers_latent_may_keep_index_keys_of_its_own() -> None:
    model = load_model("mistral-large-4")
    sharing = next(block for block in model.blocks if block.reuses == 35)
    assert sharing.places == tuple(range(39, 72, 4))
    assert {row.name: row.owned for row in sharing.rows} == {"latent": False, "index_key": True}
    assert not {"kv_a_proj", "kv_a_norm"} & {weight.name for weight in sharing.weights}


def test_a_convolution_after_n_grams_keeps_its_earlier_inputs_of_every_stream() -> None:
    """transformers models/qwen4_exp: 4 streams of 2,560, and (4 taps - 1) x 3 tokens apart."""
    (conv,) = [entry for entry in ledger(load_model("qwen3.8-flash-next"), Scenario()).state if entry.name == "ngram_conv"]
    assert (conv.elements, conv.slots, conv.state_bytes) == (4 * 2560, 3 * 3, 184_320)
    assert not any(entry.name == "ngram_conv" for entry in ledger(load_model("deepseek-v4.1-flash"), Scenario()).state)


def test_hyper_connections_of_hy_v4_are_as_large_as_those_released() -> None:
    """471 tensors of the release: 156 sites and a head."""
    model = load_model("hy-v4-preview")
    pieces = ledger(model, Scenario()).by("piece")
    assert sum(entry.parameters for entry in pieces["mhc"]) == 156 * 196_618 + 98_309 == 30_770_717
    assert [block.layers for block in model.blocks if any(row.name == "index_key" for row in block.rows)] == [21]


def test_no_rotary_embedding_keeps_no_rope_key() -> None:
    part = MLA.model_validate({"kind": "mla", **LATENT, "qk_rope_head_dim": 0})
    assert [row.name for row in part.rows(SITE)] == ["latent"]
    assert next(weight.shape for weight in part.weights(SITE) if weight.name == "kv_a_proj") == (32, 4096)


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        (MLA, {"kind": "mla", **LATENT, "qk_rope_head_dim": 0, "rope_key_norm": True}, "rope_key_norm needs"),
        (
            KPoolDSA,
            {"kind": "kpool_dsa", **LATENT, **INDEX, "qk_rope_head_dim": 0, "index_kpool": 5},
            "not a multiple of index_kpool",
        ),
        (
            QSA,
            {
                "kind": "qsa",
                **HEADS,
                "indexer_n_heads": 4,
                "indexer_head_dim": 8,
                "indexer_budget": 9,
                "indexer_compress_ratio": 4,
            },
            "not a multiple of indexer_compress_ratio",
        ),
        (
            BlockSparse,
            {
                "kind": "block_sparse",
                **HEADS,
                "blocksparse_block_size": 64,
                "blocksparse_num_local_blocks": 16,
                "blocksparse_vert_stride": 6,
            },
            "does not go evenly",
        ),
        (
            BlockSparse,
            {
                "kind": "block_sparse",
                **HEADS,
                "num_key_value_heads": 5,
                "blocksparse_block_size": 64,
                "blocksparse_num_local_blocks": 16,
                "blocksparse_vert_stride": 8,
            },
            "not a multiple of num_key_value_heads",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(cls: type[Attention], fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        cls.model_validate(fields)
