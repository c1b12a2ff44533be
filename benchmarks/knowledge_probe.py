"""How much do texts and a teacher's phrases about items say about clicks, and what does a model recall?

    python -m benchmarks.knowledge_probe                           # ml-100k in chronological order
    python -m benchmarks.knowledge_probe --cold_start=item_id      # films that training has never seen

Two probes of the knowledge that MSD distills, without users, ids and training of any language model:

  phrases   a logistic regression on frozen sentence vectors of each item: of its features (title, genre, ...), of
            the teacher's phrases, of both, and of the phrases of another item (a control)
  recall    the average rating that a language model expects from the features alone, as the score of a row

A rating that a model recalls is knowledge of what became of the item, after the time of the rows. Each line is the
mean and standard deviation over the seeds; the seed determines the split with --cold_start, and whose phrases an
item gets in the control. Other --key=value arguments are settings of the data set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.probe import load_parts, spread
from recbole_clickprompt.commands.options import parse_settings
from recbole_clickprompt.errors import UserError

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset

__all__ = ["main"]

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # C of the regression; the best on the validation rows is used
_QUESTION = "{text} On a scale from 1 to 5, its average rating is"
_RATINGS = 5
_TEXTS_PER_BATCH = 32


class Rows(NamedTuple):
    """Rows of one part of the split.

    Attributes:
        items: Ids, ``(rows,)``.
        labels: 0 or 1, ``(rows,)``.
    """

    items: np.ndarray
    labels: np.ndarray


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m benchmarks.knowledge_probe``; returns the exit code, 2 for invalid options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.knowledge_probe", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", default="ml-100k", help="default: %(default)s")
    parser.add_argument("--knowledge", default="ml-100k-items", help="file or shipped name (default: %(default)s)")
    parser.add_argument("--encoder", default="minilm", help="of the sentence vectors (default: %(default)s)")
    parser.add_argument("--recall", metavar="MODEL", help="a causal language model to ask, such as smollm2")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)), help="default: 1 to 10")
    options, rest = parser.parse_known_args(arguments)
    try:
        print(_probe(options, parse_settings(rest)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _probe(options: argparse.Namespace, settings: dict[str, object]) -> str:
    from recbole_clickprompt.evaluation.tables import markdown_table
    from recbole_clickprompt.host.knowledge_subjects import texts_of
    from recbole_clickprompt.knowledge.embedded import find_knowledge
    from recbole_clickprompt.knowledge.records import read_answers
    from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder

    answers = read_answers(find_knowledge(options.knowledge), "item")
    found: dict[str, list[tuple[float, float]]] = {}
    encoded: dict[str, np.ndarray] = {}
    recalled: dict[str, float] = {}
    encoder = SentenceEncoder(options.encoder)
    for seed in options.seeds:
        parts, data = _parts({**settings, "dataset": options.dataset, "seed": seed})
        texts = texts_of(data, "item")
        keys = [str(key) for key in data.field2id_token[data.iid_field]]
        phrases = [
            "; ".join((*answers[key].explicit, *answers[key].implicit)) if key in answers else "" for key in keys
        ]
        others = [phrases[0], *np.random.default_rng(seed).permutation(phrases[1:])]

        def vectors(lines: Sequence[str]) -> np.ndarray:
            new = [line for line in dict.fromkeys(lines) if line not in encoded]
            encoded.update(zip(new, encoder(new), strict=True))
            return np.stack([encoded[line] for line in lines])

        features, said = vectors(texts), vectors(phrases)
        kinds = {
            "features": features,
            "phrases": said,
            "features and phrases": np.hstack([features, said]),
            "features and phrases of another item": np.hstack([features, vectors(others)]),
        }
        for name, inputs in kinds.items():
            found.setdefault(name, []).append(_regression(inputs, parts))
        if options.recall:
            new = [text for text in dict.fromkeys(texts) if text not in recalled]
            recalled.update(zip(new, _ratings(options.recall, new), strict=True))
            scores = np.array([recalled[text] for text in texts])
            name = f"rating recalled by {options.recall}"
            found.setdefault(name, []).append((_auc(parts["valid"], scores), _auc(parts["test"], scores)))
    rows = [
        [name, str(len(values)), *(spread(column) for column in zip(*values, strict=True))]
        for name, values in found.items()
    ]
    return markdown_table(["score of a row", "seeds", "validation AUC", "test AUC"], rows)


def _parts(settings: dict[str, object]) -> tuple[dict[str, Rows], TextDataset]:
    """Training, validation and test rows, and the training part of the data set."""
    _, datasets = load_parts(settings)
    rows = {
        name: Rows(
            part.inter_feat[part.iid_field].numpy(), (part.inter_feat[part.label_field] > 0).numpy().astype(int)
        )
        for name, part in datasets.items()
    }
    return rows, datasets["train"]


def _regression(inputs: np.ndarray, parts: dict[str, Rows]) -> tuple[float, float]:
    """Validation and test AUC of a logistic regression, ``inputs`` by item id, ``(ids, width)``."""
    from sklearn.linear_model import LogisticRegression

    train = parts["train"]
    # Rows of one item have equal inputs: one row per item and label, weighted by their number, is the same problem
    counts = np.zeros((len(inputs), 2))
    np.add.at(counts, (train.items, train.labels), 1)
    items, labels = counts.nonzero()
    best = (0.0, 0.0)
    for penalty in _PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=2000)
        model.fit(inputs[items], labels, sample_weight=counts[items, labels])
        scores = model.decision_function(inputs)
        best = max(best, (_auc(parts["valid"], scores), _auc(parts["test"], scores)))
    return best


def _auc(rows: Rows, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows.labels, scores[rows.items]))


def _ratings(name: str, texts: Sequence[str]) -> list[float]:
    """The mean of the digits 1 to 5 under the model's distribution over the next token, for each text."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from recbole_clickprompt.plm.generative import load_generative

    model, tokenizer, _ = load_generative(name)
    model.eval()
    digits = [tokenizer.encode(str(rating), add_special_tokens=False)[-1] for rating in range(1, _RATINGS + 1)]
    values = torch.arange(1.0, _RATINGS + 1)
    # The blank before a digit is a token of its own where digits are
    ids = [tokenizer.encode(f"{_QUESTION.format(text=text)} ", add_special_tokens=False) for text in texts]
    ratings = torch.empty(len(texts))
    order = sorted(range(len(texts)), key=lambda number: len(ids[number]))
    with torch.inference_mode():
        for begin in range(0, len(order), _TEXTS_PER_BATCH):
            batch = order[begin : begin + _TEXTS_PER_BATCH]
            padded = pad_sequence([torch.tensor(ids[number]) for number in batch], batch_first=True)
            last = torch.tensor([len(ids[number]) - 1 for number in batch])  # padding on the right is never read
            states = model.base_model(input_ids=padded).last_hidden_state[torch.arange(len(batch)), last]
            logits = model.get_output_embeddings()(states)[:, digits]
            ratings[batch] = logits.float().softmax(1) @ values
    return ratings.tolist()


if __name__ == "__main__":
    sys.exit(main())
