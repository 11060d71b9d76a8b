"""Predicted bytes against counted bytes: what two real ranks hold and send in a step, and what backward saves."""

from collections.abc import Iterator

import pytest
import torch
from counted_ranks import ENGINES, MICRO_BATCHES, MODEL, Counted, count, optimizer_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker, _MemRefType

from clinical_modernbert.kernels import geglu, mlm_loss, norm
from clinical_modernbert.kernels.attention import dispatch as attention
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.stable_adamw import PIECE
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.planning.communication import exchange, traffic
from clinical_modernbert.training.planning.memory import activations, kept_bytes, states
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.zero.optimizer import StableAdamW
from clinical_modernbert.training.zero.parameter_shards import ParameterShard
from clinical_modernbert.training.zero.partition import parameter_sizes

RANKS = 2
SPECIAL = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}
# Three layers of each size: all layers cost the same, except the first.
BASE = {"vocab_size": 50_368, "hidden_size": 768, "intermediate_size": 1152, "num_attention_heads": 12}
WIDE = {**BASE, "vocab_size": 256_000}
LARGE = {"vocab_size": 50_368, "hidden_size": 1024, "intermediate_size": 2624, "num_attention_heads": 16}


def model_config(sizes: dict[str, int]) -> ModelConfig:
    return ModelConfig.model_validate({**sizes, **SPECIAL, "num_hidden_layers": 3})


@pytest.fixture(scope="module")
def counted() -> dict[str, Counted]:
    return count(RANKS)


@pytest.mark.parametrize("name", ENGINES)
def test_memory_of_the_states_is_as_predicted(counted: dict[str, Counted], name: str) -> None:
    kept = kept_bytes(MODEL, optimizer_of(name))
    predicted = states(MODEL, EngineConfig.model_validate(ENGINES[name]), RANKS, kept).device
    assert predicted == pytest.approx(counted[name].held, rel=0.05)


@pytest.mark.parametrize("name", ENGINES)
def test_exchanged_bytes_are_as_predicted(counted: dict[str, Counted], name: str) -> None:
    engine = EngineConfig.model_validate(ENGINES[name])
    predicted = exchange(MODEL, engine, MICRO_BATCHES, optimizer_of(name), RANKS)
    exchanged = counted[name].exchanged
    small = 0.002 * MODEL.num_parameters  # norms and counts
    assert predicted.all_reduce == pytest.approx(exchanged.get("all_reduce", 0), rel=0.01, abs=small)
    assert predicted.all_gather == pytest.approx(exchanged.get("all_gather_into_tensor", 0), rel=0.01)
    assert predicted.reduce_scatter == pytest.approx(exchanged.get("reduce_scatter_tensor", 0), rel=0.01)
    # Two ranks send each other the same. At ZeRO-1 the border between them cuts no matrix of this model.
    assert predicted.all_to_all == RANKS * exchanged.get("all_to_all_single", 0)
    assert (predicted.all_to_all > 0) == (name == "3 bf16, Muon")


@pytest.mark.parametrize("name", ENGINES)
def test_messages_are_as_predicted(counted: dict[str, Counted], name: str) -> None:
    """As many as predicted and as large: a network's latency counts for each.

    The vectors of strict ZeRO-3 are left out. The order of gradients decides what a small bucket holds.
    """
    engine = EngineConfig.model_validate(ENGINES[name])
    predicted = traffic(MODEL, engine, optimizer_of(name), RANKS)
    least = 1024 if "strict" in name else 0
    for kind, call in (
        ("all_reduce", "all_reduce"),
        ("all_gather", "all_gather_into_tensor"),
        ("reduce_scatter", "reduce_scatter_tensor"),
    ):
        sizes = [m.size for m in (*predicted.per_micro_batch() * MICRO_BATCHES, *predicted.step) if m.kind == kind]
        found = sorted(size for size in counted[name].messages.get(call, []) if size > least)
        if kind == "all_reduce":
            norms = [size for size in found if size <= 8 * len(parameter_sizes(MODEL))]
            found = found[len(norms) :]
            # ZeRO-3 adds up the norms of Muon's groups one by one.
            assert "strict" in name or len(norms) == predicted.norms + 3 * (name == "3 bf16, Muon")
        assert len(found) == len(sizes), (kind, found, sorted(sizes))
        if "Muon" not in name and not (kind == "reduce_scatter" and "pieces" in name):
            assert sorted(sizes) == pytest.approx(found, rel=0.02, abs=0.01 * MODEL.num_parameters), kind


def test_a_ring_sends_each_tensor_once_or_twice_except_its_own_share() -> None:
    engine = EngineConfig(zero_stage=1)
    four_ranks = exchange(MODEL, engine, micro_batches=3).sent(4)
    assert four_ranks == (2 * 4 + 2) * MODEL.num_parameters * 3 / 4
    assert exchange(MODEL, engine, micro_batches=3).sent(1) == 0


def test_parameter_sizes_are_those_of_the_model() -> None:
    model = MaskedLM(MODEL)
    assert sorted(parameter_sizes(MODEL)) == sorted(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def triton_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Triton kernels' operators on fake tensors, for which nothing is computed."""
    for module in (geglu, mlm_loss, norm):
        monkeypatch.setattr(module, "use_triton", lambda backend, device: True)
    monkeypatch.setattr(attention, "choose_backend", lambda *_: attention.Choice("triton", "asked for"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


class ForwardPass:
    """A forward pass of fake packs; `model` is in bf16."""

    def __init__(
        self, config: ModelConfig, tokens: int, masked: int, checkpointing: bool, causal: bool = False
    ) -> None:
        torch.set_default_dtype(torch.bfloat16)
        self.model = MaskedLM(config)
        torch.set_default_dtype(torch.float32)
        self.model.model.activation_checkpointing = checkpointing
        self.tokens, self.masked, self.causal = tokens, masked, causal

    def __call__(self) -> torch.Tensor:
        ids, positions = torch.zeros(self.tokens, dtype=torch.int64), torch.arange(self.masked)
        batch = PackedBatch.from_lengths([1024] * (self.tokens // 1024), "cpu")
        targets = torch.zeros(self.masked, dtype=torch.int64)
        return self.model(ids, batch, positions, targets, causal=self.causal)[0]


@pytest.mark.parametrize("masked", [2458, 8184], ids=["masked", "causal"])
@pytest.mark.parametrize("sizes", [BASE, LARGE], ids=["base", "large"])
@pytest.mark.usefixtures("triton_without_a_gpu")
def test_saved_activations_are_as_predicted(sizes: dict[str, int], masked: int) -> None:
    tokens, causal = 8192, masked > 8000
    run = ForwardPass(config := model_config(sizes), tokens, masked, checkpointing=False, causal=causal)
    weights = {parameter.untyped_storage()._cdata for parameter in run.model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        run()
    predicted = activations(config, EngineConfig(), tokens, masked, causal)
    assert predicted.layers + predicted.head == pytest.approx(sum(one.nbytes() for one in saved.values()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Expected a tensor")  # from the tracker, where a gradient is None
@pytest.mark.parametrize("checkpointing", [False, True], ids=["saved", "recomputed"])
@pytest.mark.parametrize(
    ("sizes", "packs", "masked"),
    [
        (BASE, 1, 2458),
        (BASE, 1, 8184),
        (LARGE, 4, 2458),
        (LARGE, 4, 8184),
        (WIDE, 1, 2458),
        (WIDE, 8, 2458),
    ],
    ids=["base", "base, causal", "large", "large, causal", "256,000 tokens", "256,000 tokens, ten chunks"],
)
@pytest.mark.usefixtures("triton_without_a_gpu")
def test_peak_memory_is_as_predicted(sizes: dict[str, int], packs: int, masked: int, checkpointing: bool) -> None:
    tokens, masked, causal = 8192 * packs, masked * packs, masked > 8000
    run = ForwardPass(config := model_config(sizes), tokens, masked, checkpointing, causal)
    for parameter in run.model.parameters():  # gradients are part of the states
        parameter.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))
    with (tracker := MemTracker()):
        run().backward()
    peak_bytes = next(iter(tracker.get_tracker_snapshot("peak").values()))
    peak = peak_bytes["Total"] - peak_bytes[_MemRefType.PARAM]
    engine = EngineConfig(activation_checkpointing=checkpointing)
    assert activations(config, engine, tokens, masked, causal).device == pytest.approx(peak, 0.05)


@pytest.mark.usefixtures("process_group")
def test_the_update_needs_no_memory_of_its_own() -> None:
    numbers = MODEL.num_parameters
    flat = torch.nn.Parameter(torch.zeros(numbers))
    optimizer = StableAdamW([flat], lr=1e-3)
    optimizer.bind([flat], [ParameterShard("weight", (numbers,), 0, numbers, flat, 0)], ["weight"])
    flat.grad = torch.ones(numbers)
    optimizer.step()  # creates the optimizer state
    tracker = MemTracker()
    state = optimizer.state[flat]
    tracker.track_external(flat.detach(), flat.grad, state["exp_avg"], state["exp_avg_sq"])
    with tracker:
        optimizer.step()
    peak = next(iter(tracker.get_tracker_snapshot("peak").values()))["Total"]
    assert peak - 4 * flat.nbytes <= 2 * 4 * PIECE * torch.get_num_threads() + 4096
