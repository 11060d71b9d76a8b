"""The architecture of a ModernBERT encoder, as plain values."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

HeadActivation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"]


class ModelConfig(BaseModel):
    """Everything that determines what the model computes, and nothing about how or where it runs.

    Fields have Hugging Face's names. Defaults are the values published for ModernBERT (arXiv 2412.13663) and the
    defaults of transformers' ModernBertConfig. The three token ids must be those of the tokenizer; two of them may be
    the same token, as in mmBERT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(gt=0, description="rows of the embedding; at least the tokenizer's size")
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0, description="width of the MLP after gating (Wi is twice as wide)")
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)

    global_attn_every_n_layers: int = Field(default=3, gt=0, description="layers 0, n, 2n, ... attend globally")
    local_attention: int = Field(default=128, gt=0, description="tokens in a local window, both directions together")
    global_rope_theta: float = Field(default=160_000.0, gt=0)
    local_rope_theta: float = Field(default=10_000.0, gt=0)
    max_position_embeddings: int = Field(default=8192, gt=0, description="longest sequence, in tokens")
    norm_eps: float = Field(default=1e-5, gt=0)
    classifier_activation: HeadActivation = Field(
        default="gelu", description="of the prediction head, which transformers names after classifiers"
    )

    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1, description="on the output projection of attention")
    mlp_dropout: float = Field(default=0.0, ge=0, lt=1)

    initializer_range: float = Field(default=0.02, gt=0, description="standard deviation before truncation")
    initializer_cutoff_factor: float = Field(default=2.0, gt=0, description="truncation, in standard deviations")

    pad_token_id: int = Field(ge=0)
    cls_token_id: int = Field(ge=0)
    sep_token_id: int = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        heads = self.num_attention_heads
        if self.hidden_size % heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) must be divisible by num_attention_heads ({heads})")
        if self.head_dim % 2:
            raise ValueError(
                f"hidden_size / num_attention_heads ({self.hidden_size} / {heads} = {self.head_dim}) must be even: "
                "rotary embeddings rotate pairs of features"
            )
        if self.local_attention % 2:
            raise ValueError(f"local_attention ({self.local_attention}) must be even: half per direction")
        ids = {name: getattr(self, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
        for name, token in ids.items():
            if token >= self.vocab_size:
                raise ValueError(f"{name} ({token}) must be below vocab_size ({self.vocab_size})")
        return self

    @property
    def head_dim(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def window(self) -> int:
        """Tokens before and after a query that a local layer attends to: |i - j| <= window."""
        return self.local_attention // 2

    def is_global(self, layer: int) -> bool:
        """Whether `layer`, counted from 0, attends to the complete sequence."""
        return layer % self.global_attn_every_n_layers == 0

    @property
    def num_parameters(self) -> int:
        """Exact number of parameters; the tied embedding counts once."""
        d, inner, layers = self.hidden_size, self.intermediate_size, self.num_hidden_layers
        embeddings = self.vocab_size * d + d
        encoder_layers = layers * (3 * d * d + d * d + 2 * inner * d + inner * d + d) + (layers - 1) * d
        head = d * d + d
        return embeddings + encoder_layers + d + head + self.vocab_size
