"""Where the representation q of each backbone is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["HOOKS", "RepresentationHook"]


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)


def _sum_of_pairs(products: Tensor) -> Tensor:
    return products.sum(1)  # (B, pairs, d) -> (B, d)


def _bi_interaction(embeddings: Tensor) -> Tensor:
    # (B, F, d) -> (B, d): the sum over pairs of fields, whose own sum is what FM adds to the logit
    return 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1))


@dataclass(frozen=True)
class RepresentationHook:
    """Reads the input of the module ``module`` of a model, made two-dimensional by ``reduce``."""

    module: str
    reduce: Callable[[Tensor], Tensor] = _flat

    def register(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """Passes each call's input to ``collect`` until the returned handle is removed."""

        def read(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            collect(self.reduce(inputs[0]))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


class OutputHook(RepresentationHook):
    """Reads the output of the module."""

    def register(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``RepresentationHook.register``."""

        def read(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            collect(self.reduce(output))

        return model.get_submodule(self.module).register_forward_hook(read)


class EmbeddingHook(RepresentationHook):
    """Reads the embeddings of the batch that enters the module, for a model whose prediction reads none."""

    def register(self, model: Any, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``RepresentationHook.register``."""

        def read(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            collect(self.reduce(model.concat_embed_input_fields(inputs[0])))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


_PREDICT_LAYER = (RepresentationHook("predict_layer"),)

# q is the input of the last prediction layer; where a model adds up several, their inputs are concatenated.
# Without such a layer it is the vector whose elements are summed (FM and similar) or compared (DSSM).
HOOKS: dict[str, tuple[RepresentationHook, ...]] = {
    "AFM": (OutputHook("dropout_layer"),),
    "AutoInt": (RepresentationHook("attn_fc"), RepresentationHook("deep_predict_layer")),
    "DCN": _PREDICT_LAYER,
    "DCNV2": _PREDICT_LAYER,
    "DeepFM": (RepresentationHook("deep_predict_layer"), RepresentationHook("fm", _bi_interaction)),
    "DIN": _PREDICT_LAYER,
    "DNN": _PREDICT_LAYER,
    "DSSM": (OutputHook("user_mlp_layers"), OutputHook("item_mlp_layers")),
    "EulerNet": (RepresentationHook("reg"),),  # called twice: real part, imaginary part
    "FFM": (OutputHook("ffm", _sum_of_pairs),),
    "FGCNN": _PREDICT_LAYER,
    "FiBiNET": _PREDICT_LAYER,
    "FiGNN": (RepresentationHook("mlp2"),),
    "FinalMLP": (RepresentationHook("fusion"),),
    "FM": (RepresentationHook("fm", _bi_interaction),),
    "FNN": _PREDICT_LAYER,
    "FwFM": (RepresentationHook("dropout_layer"),),
    "GDCN": _PREDICT_LAYER,
    "KD_DAGFM": (RepresentationHook("network.linear"),),
    # Its F summands are few for a prompt; the embeddings without them would leave the summands unpretrained
    "LR": (EmbeddingHook("first_order_linear"), OutputHook("first_order_linear.token_embedding_table")),
    "MaskNet": _PREDICT_LAYER,
    "NFM": _PREDICT_LAYER,
    "PNN": _PREDICT_LAYER,
    "WideDeep": (RepresentationHook("deep_predict_layer"),),
    "WuKong": _PREDICT_LAYER,
    "xDeepFM": (RepresentationHook("cin_linear"), RepresentationHook("mlp_layers.1")),
}
