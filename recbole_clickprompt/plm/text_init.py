"""Initial embeddings of users and items from their text, by a PLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

from recbole_clickprompt.backbones.unseen import token_embedding_tables
from recbole_clickprompt.embeddings.table import ShardedTable
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.text import Textualizer
from recbole_clickprompt.text.tokens import TokenTable

if TYPE_CHECKING:
    from recbole.model.abstract_recommender import ContextRecommender

__all__ = ["init_embeddings_from_text", "principal_components", "text_vectors"]

_TEXTS_PER_BATCH = 256
_VECTORS_PER_BLOCK = 1 << 16
# Factor on the standard deviation of a random table, which is far below that of a trained one
_SCALE = 2.0


@torch.no_grad()
def init_embeddings_from_text(backbone: ContextRecommender, config: Settings, dataset: TextSource) -> int:
    """Initializes embeddings of the id fields in ``init_from_text`` with principal components of text vectors.

    Ids with similar texts start with similar embeddings, so what training learns about one applies to the other.
    The embeddings have twice the standard deviation of the random ones that they replace.
    Ids without a text keep their random embeddings.

    Args:
        backbone: A context-aware RecBole model; its tables are changed in place.
        config: Settings of the run.
        dataset: The model's data set.

    Returns:
        Number of initialized ids, over all fields.

    Raises:
        SettingError: A field is not the user's or the item's id, has no text, or the embeddings are wider than
            the PLM; or the backbone has no such embeddings.
    """
    tables = [table for table in token_embedding_tables(backbone) if table.embedding_dim > 1]
    if not tables or config["backbone"] == "LR":  # LR has such tables but never reads them
        raise SettingError(f"init_from_text: {config['backbone']} has no embeddings of ids; leave it out")
    begins = dict(zip(backbone.token_field_names, backbone.token_field_offsets.tolist(), strict=True))
    deviations = [
        _SCALE * (table.std() if isinstance(table, ShardedTable) else table.weight.std().item())
        for table in tables
    ]
    number = 0
    for field in config["init_from_text"]:
        vectors, has_text = text_vectors(config, dataset, field)
        ids = torch.nonzero(has_text).squeeze(1)
        for table, deviation in zip(tables, deviations, strict=True):
            if table.embedding_dim > vectors.shape[1]:
                raise SettingError(
                    f"init_from_text: embedding_size is {table.embedding_dim}, more than the {vectors.shape[1]} "
                    "of the PLM; take smaller embeddings"
                )
            components = principal_components(vectors[ids], table.embedding_dim)
            if isinstance(table, ShardedTable):
                table.set_rows(begins[field] + ids, deviation * components)
            else:
                rows = begins[field] + ids.to(table.weight.device)
                table.weight[rows] = (deviation * components).to(table.weight)
        number += len(ids)
    return number


def text_vectors(config: Settings, dataset: TextSource, field: str) -> tuple[Tensor, Tensor]:
    """Vectors of the text of each user or item, without the id itself, which has no meaning.

    Args:
        config: Settings of the run.
        dataset: Data set with the texts.
        field: Field of the user's or the item's id.

    Returns:
        The mean of the last states over the tokens of a text, special ones included, normalized to length 1,
        ``(ids, W)`` float32, zero for ids without a text; and True for ids with a text, ``(ids,)``.

    Raises:
        SettingError: As for ``init_embeddings_from_text``.
    """
    if field not in (dataset.uid_field, dataset.iid_field):
        raise SettingError(
            f"init_from_text: {field} is neither {dataset.uid_field} nor {dataset.iid_field}: only users and "
            "items have a text"
        )
    parts = zip(config["text_fields"], dataset.textualizer().fields, strict=True)
    features = [part for name, part in parts if part.key == field and name != field]
    if not features:
        raise SettingError(f"init_from_text: text_fields has no feature of {field}, so its ids have no text")
    row_table: TokenTable = dataset.token_table(config["plm"])
    tokenizer = dataset.tokenizer(config["plm"])
    table = TokenTable(textualizer=Textualizer(features), tokenizer=tokenizer, max_length=row_table.max_length)
    ids = torch.arange(dataset.num(field))
    lengths = table.lengths({field: ids})
    has_text = lengths > len(table.prefix) + len(table.suffix)
    plm = PromptedEncoder(
        load_plm(
            find_plm(config["plm"], seed=config["seed"]), num_layers=config["plm_num_layers"], dropout=None
        ).encoder
    )
    device = config["device"]
    plm.to(device).eval()
    vectors = torch.zeros(len(ids), plm.hidden_size)
    quiet = not config["show_progress"]
    with tqdm(total=int(has_text.sum()), unit="texts", desc=f"texts of {field}", disable=quiet) as bar:
        for batch_ids in ids[has_text][lengths[has_text].argsort(stable=True)].split(_TEXTS_PER_BATCH):
            tokens, length = table({field: batch_ids})
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config["enable_amp"]):
                states = plm(tokens.to(device), length.to(device)).float().cpu()
            inside = torch.arange(states.shape[1]) < length.unsqueeze(1)
            mean = (states * inside.unsqueeze(2)).sum(1) / length.unsqueeze(1)
            vectors[batch_ids] = nn.functional.normalize(mean, dim=1)
            bar.update(len(batch_ids))
    return vectors, has_text


def principal_components(vectors: Tensor, number: int) -> Tensor:
    """The first principal components of vectors, scaled to standard deviation 1 over all elements.

    The sign of a component is such that its weight of largest magnitude is positive, so the result is
    deterministic.

    Args:
        vectors: ``(ids, W)``.
        number: Number of components, at most W.

    Returns:
        ``(ids, number)`` float32.
    """
    parts = vectors.split(_VECTORS_PER_BLOCK)  # a float64 copy of all would take twice their memory
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(vectors)
    spread = mean.new_zeros(len(mean), len(mean))
    for part in parts:
        centered = part.double() - mean
        spread += centered.T @ centered
    _, axes = torch.linalg.eigh(spread)  # ascending
    axes = axes.flip(1)[:, :number]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    components = torch.cat([(part.double() - mean) @ axes for part in parts]).float()
    return components / components.std().clamp(min=1e-12)
