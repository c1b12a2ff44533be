"""A language model on this machine as the teacher, written line by line with the labels given.

Small models do not keep a format of three lines. The labels are therefore forced: after ``Reasoning:`` the model
writes until it would end the line, then ``Explicit:`` is given and it writes on, and so with ``Implicit:``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

import torch

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.knowledge.prompts import Prompt
from recbole_clickprompt.knowledge.teachers.base import ANSWER_TOKENS, Reply
from recbole_clickprompt.knowledge.teachers.decoding import write_lines
from recbole_clickprompt.knowledge.teachers.labeled_lines import LabeledLines, LineWriter
from recbole_clickprompt.knowledge.teachers.shared_prefix import (
    PaddedRows,
    in_batches,
    pad_after_prefix,
    read_once,
    shares_prefixes,
)
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.plm.weight_files import first_line, weights_hash
from recbole_clickprompt.plm.weights import find_plm

if TYPE_CHECKING:
    from transformers import GenerationConfig

__all__ = ["LocalTeacher"]

_TOKENS_PER_BATCH = {"cpu": 8192, "cuda": 65536}  # of prompts and answers, padding included
_MOST_ROWS = {"cpu": 32, "cuda": 256}


class LocalTeacher:
    """Any causal or encoder-decoder model of transformers; greedy, in batches of similar length.

    Args:
        model: ``smollm2``, a folder, or a Hugging Face id.
        device: Where it runs; in bfloat16 on a GPU, else in float32.
        answer_tokens: Longest answer; half of it for the reasoning, a quarter for each list of phrases.

    Raises:
        WeightsError: The model cannot be found or read, or does not generate text.
    """

    tries_again = True
    concurrent = 1

    def __init__(
        self, model: str, *, device: torch.device | str = "cpu", answer_tokens: int = ANSWER_TOKENS
    ) -> None:
        self.device = torch.device(device)
        loaded = load_generative(model)
        self.tokenizer, self.encoder_decoder = loaded.tokenizer, loaded.encoder_decoder
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = loaded.model.to(self.device, dtype).eval()
        folder = find_plm(model)
        self.name = f"local:{folder.name if folder.is_dir() and model != 'smollm2' else model}"
        self.name += f"@{weights_hash(folder)[:12]}"
        self.decoding = f"greedy, labeled lines, {answer_tokens} tokens, {str(dtype).removeprefix('torch.')}"
        self.answer_tokens = answer_tokens
        self.lines = LabeledLines(self.tokenizer, answer_tokens=answer_tokens)
        self._full_attention = shares_prefixes(self.model)
        # In place of the model's own, which may ask for samples or penalties
        self.model.generation_config = self._greedy()

    def answer(
        self, prompts: Sequence[Prompt], stopped: Callable[[], bool]
    ) -> Generator[Sequence[Reply], None, None]:
        """Answers batch by batch; those of a batch share an example if there are enough of them.

        Raises:
            WeightsError: The model cannot run.
        """
        questions = [(prompt, self.tokens(prompt)) for prompt in prompts]
        longest = self._longest_prompt()
        if too_long := [prompt for prompt, tokens in questions if len(tokens) > longest]:
            yield [
                Reply(prompt, None, error=f"the prompt has more than {longest} tokens, which the model can read")
                for prompt in too_long
            ]
        fitting = [(prompt, tokens) for prompt, tokens in questions if len(tokens) <= longest]
        groups = [(prompt.example, len(tokens)) for prompt, tokens in fitting]
        for batch in in_batches(groups, [self._rows(length) for _, length in groups]):
            if stopped():
                return
            yield self._write([fitting[number] for number in batch])

    def count_tokens(self, prompt: Prompt) -> tuple[int, str]:
        """Counted by the model's tokenizer."""
        return len(self.tokens(prompt)), "counted by the model's tokenizer"

    def _greedy(self) -> GenerationConfig:
        from transformers import GenerationConfig

        start = self.model.generation_config.decoder_start_token_id
        if start is None:
            start = getattr(self.model.config, "decoder_start_token_id", None)
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.lines.most_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            bos_token_id=self.tokenizer.bos_token_id,
            decoder_start_token_id=start,
        )

    def _rows(self, length: int) -> int:
        kind = "cuda" if self.device.type == "cuda" else "cpu"
        return max(1, min(_MOST_ROWS[kind], _TOKENS_PER_BATCH[kind] // (length + self.answer_tokens)))

    def _longest_prompt(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", None)
        positions = positions if isinstance(positions, int) else self.tokenizer.model_max_length
        return int(min(positions, 1 << 20)) - (0 if self.encoder_decoder else self.lines.most_tokens)

    @torch.inference_mode()
    def _write(self, questions: Sequence[tuple[Prompt, list[int]]]) -> list[Reply]:
        start = time.perf_counter()
        pad = self.tokenizer.pad_token_id
        rows = pad_after_prefix([tokens for _, tokens in questions], pad=pad, share=self._full_attention)
        rows.tokens, rows.mask = rows.tokens.to(self.device), rows.mask.to(self.device)
        writer = self.lines.writer(rows=len(questions))
        try:
            if self._full_attention:
                write_lines(self.model, rows, writer, read_once(self.model, rows))
            else:
                self._generate(rows, writer)
        except (RuntimeError, ValueError, IndexError) as error:  # such as out of memory
            raise WeightsError(f"{self.name} cannot answer: {first_line(error)}") from error
        seconds = (time.perf_counter() - start) / len(questions)
        return [
            Reply(prompt, writer.text(row), len(tokens), writer.tokens(row), seconds)
            for row, (prompt, tokens) in enumerate(questions)
        ]

    def _generate(self, rows: PaddedRows, writer: LineWriter) -> None:
        """Encoder-decoders, and models with other caches than keys and values of all tokens."""
        from transformers import LogitsProcessorList

        self.model.generate(
            input_ids=rows.tokens, attention_mask=rows.mask, logits_processor=LogitsProcessorList([writer])
        )

    def tokens(self, prompt: Prompt) -> list[int]:
        """The model's input for a question."""
        if self.tokenizer.chat_template:
            return self.tokenizer(self._chat(prompt), add_special_tokens=False)["input_ids"]
        text = f"{prompt.system}\n\n{prompt.user}"
        if self.encoder_decoder:
            return self.tokenizer(text)["input_ids"]
        # A causal tokenizer that adds an end token would end the answer before it begins
        return self.tokenizer((self.tokenizer.bos_token or "") + text, add_special_tokens=False)["input_ids"]

    def _chat(self, prompt: Prompt) -> str:
        system = {"role": "system", "content": prompt.system}
        user = {"role": "user", "content": prompt.user}
        merged = {"role": "user", "content": f"{prompt.system}\n\n{prompt.user}"}
        for messages in ([system, user], [merged]):  # some templates refuse a system message
            try:
                return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except Exception as error:  # raised by the template, which is part of the model's files
                reason = first_line(error)
        raise WeightsError(f"{self.name}: its chat template cannot be used: {reason}")
