"""Where the representation q of each backbone is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["TAPS", "Tap"]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def _sum_of_pairs(products: Tensor) -> Tensor:
    return products.sum(1)  # (B, pairs, d) -> (B, d)


def _bi_interaction(embeddings: Tensor) -> Tensor:
    # (B, F, d) -> (B, d): the sum over pairs of fields, whose own sum is what FM adds to the logit
    return 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1))


@dataclass(frozen=True)
class Tap:
    """What enters the module ``module`` of a model, made two-dimensional by ``reduce``."""

    module: str
    reduce: Callable[[Tensor], Tensor] = _flat

    def attach(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """Hands every call's reading to ``collect`` until the returned handle is removed."""

        def read(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            collect(self.reduce(inputs[0]))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


class OutputTap(Tap):
    """What leaves the module."""

    def attach(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``Tap.attach``."""

        def read(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            collect(self.reduce(output))

        return model.get_submodule(self.module).register_forward_hook(read)


class EmbeddingTap(Tap):
    """The embeddings of the batch that enters the module, for a model whose prediction reads none of them."""

    def attach(self, model: Any, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``Tap.attach``."""

        def read(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            collect(self.reduce(model.concat_embed_input_fields(inputs[0])))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


_PREDICT_LAYER = (Tap("predict_layer"),)

# q is what enters the last prediction layer; where a model adds up several, their inputs are concatenated.
# Without such a layer it is the vector whose elements are summed (FM and its kin) or compared (DSSM).
TAPS: dict[str, tuple[Tap, ...]] = {
    "AFM": (OutputTap("dropout_layer"),),
    "AutoInt": (Tap("attn_fc"), Tap("deep_predict_layer")),
    "DCN": _PREDICT_LAYER,
    "DCNV2": _PREDICT_LAYER,
    "DeepFM": (Tap("deep_predict_layer"), Tap("fm", _bi_interaction)),
    "DNN": _PREDICT_LAYER,
    "DSSM": (OutputTap("user_mlp_layers"), OutputTap("item_mlp_layers")),
    "EulerNet": (Tap("reg"),),  # called twice: real part, imaginary part
    "FFM": (OutputTap("ffm", _sum_of_pairs),),
    "FGCNN": _PREDICT_LAYER,
    "FiBiNET": _PREDICT_LAYER,
    "FiGNN": (Tap("mlp2"),),
    "FinalMLP": (Tap("fusion"),),
    "FM": (Tap("fm", _bi_interaction),),
    "FNN": _PREDICT_LAYER,
    "FwFM": (Tap("dropout_layer"),),
    "GDCN": _PREDICT_LAYER,
    "KD_DAGFM": (Tap("network.linear"),),
    # Its summands are F numbers, few for a prompt; the embeddings alone would leave the summands unpretrained
    "LR": (EmbeddingTap("first_order_linear"), OutputTap("first_order_linear.token_embedding_table")),
    "MaskNet": _PREDICT_LAYER,
    "NFM": _PREDICT_LAYER,
    "PNN": _PREDICT_LAYER,
    "WideDeep": (Tap("deep_predict_layer"),),
    "WuKong": _PREDICT_LAYER,
    "xDeepFM": (Tap("cin_linear"), Tap("mlp_layers.1")),
}
