"""Where the representation q of each backbone is read (ClickPrompt, Eq. 5). Letters: see ``plm/__init__.py``.

Torch hooks read q during the model's own forward pass, so RecBole's models need no change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction
    from recbole.model.abstract_recommender import ContextRecommender

__all__ = ["HOOKS", "RepresentationHook"]


def _flat(x: Tensor) -> Tensor:
    """``(B, ...)`` to ``(B, Q)``."""
    return x.flatten(1)


def _sum_of_pairs(products: Tensor) -> Tensor:
    """``(B, pairs, d)`` to ``(B, d)``."""
    return products.sum(1)


def _bi_interaction(embeddings: Tensor) -> Tensor:
    """``(B, F, d)`` to ``(B, d)``: the sum of ``v_i * v_j`` over pairs of fields, whose elements FM sums."""
    return 0.5 * (embeddings.sum(1).square() - embeddings.square().sum(1))


@dataclass(frozen=True)
class RepresentationHook:
    """Reads the first input of a submodule.

    Attributes:
        module: Name of the submodule in the model.
        reduce: Maps what is read to ``(B, width)``.
    """

    module: str
    reduce: Callable[[Tensor], Tensor] = _flat

    def register(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """Passes what each call reads, ``(B, width)``, to ``collect`` until the returned handle is removed."""

        def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            collect(self.reduce(inputs[0]))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


class OutputHook(RepresentationHook):
    """Reads the output of the submodule."""

    def register(self, model: nn.Module, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``RepresentationHook.register``."""

        def read(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            collect(self.reduce(output))

        return model.get_submodule(self.module).register_forward_hook(read)


class EmbeddingHook(RepresentationHook):
    """Reads the embeddings of the batch that enters the submodule, for a model that predicts without them."""

    def register(self, model: ContextRecommender, collect: Callable[[Tensor], None]) -> RemovableHandle:
        """As ``RepresentationHook.register``."""

        def read(_: nn.Module, inputs: tuple[Interaction, ...]) -> None:
            collect(self.reduce(model.concat_embed_input_fields(inputs[0])))

        return model.get_submodule(self.module).register_forward_pre_hook(read)


_PREDICT_LAYER = (RepresentationHook("predict_layer"),)

# q is the input of the last prediction layer; if a model sums several outputs, their inputs are concatenated.
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
    # Its F summands are too few for a prompt; with the embeddings alone the summands would not be pretrained
    "LR": (EmbeddingHook("first_order_linear"), OutputHook("first_order_linear.token_embedding_table")),
    "MaskNet": _PREDICT_LAYER,
    "NFM": _PREDICT_LAYER,
    "PNN": _PREDICT_LAYER,
    "WideDeep": (RepresentationHook("deep_predict_layer"),),
    "WuKong": _PREDICT_LAYER,
    "xDeepFM": (RepresentationHook("cin_linear"), RepresentationHook("mlp_layers.1")),
}
