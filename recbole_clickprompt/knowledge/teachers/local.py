"""A language model on this machine as the teacher, written line by line with the labels given.

Small models do not keep a format of three lines. The labels are therefore forced: after ``Reasoning:`` the model
writes until it would end the line, then ``Explicit:`` is given and it writes on, and so with ``Implicit:``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.knowledge.prompts import Prompt
from recbole_clickprompt.knowledge.teachers.base import ANSWER_TOKENS, Reply
from recbole_clickprompt.knowledge.teachers.labeled_lines import LabeledLines
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.plm.weight_files import first_line, weights_hash
from recbole_clickprompt.plm.weights import find_plm

if TYPE_CHECKING:
    from transformers import BatchEncoding, GenerationConfig

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
        self.tokenizer.padding_side = "left"  # an answer follows the last token of its prompt
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = loaded.model.to(self.device, dtype).eval()
        folder = find_plm(model)
        self.name = f"local:{folder.name if folder.is_dir() and model != 'smollm2' else model}"
        self.name += f"@{weights_hash(folder)[:12]}"
        self.decoding = f"greedy, labeled lines, {answer_tokens} tokens, {str(dtype).removeprefix('torch.')}"
        self.answer_tokens = answer_tokens
        self.lines = LabeledLines(self.tokenizer, answer_tokens=answer_tokens)
        # In place of the model's own, which may ask for samples or penalties
        self.model.generation_config = self._greedy()

    def answer(
        self, prompts: Sequence[Prompt], stopped: Callable[[], bool]
    ) -> Generator[Sequence[Reply], None, None]:
        """Answers batch by batch, the longest prompts first, so that memory runs out at the start if at all.

        Raises:
            WeightsError: The model cannot run.
        """
        lengths = [len(self.tokens([prompt])["input_ids"][0]) for prompt in prompts]
        longest = self._longest_prompt()
        if too_long := [prompt for prompt, length in zip(prompts, lengths, strict=True) if length > longest]:
            yield [
                Reply(prompt, None, error=f"the prompt has more than {longest} tokens, which the model can read")
                for prompt in too_long
            ]
        fitting = [number for number, length in enumerate(lengths) if length <= longest]
        fitting.sort(key=lambda number: (-lengths[number], number))
        while fitting and not stopped():
            rows = self._rows(lengths[fitting[0]])
            batch, fitting = fitting[:rows], fitting[rows:]
            yield self._generate([prompts[number] for number in batch], [lengths[number] for number in batch])

    def count_tokens(self, prompt: Prompt) -> tuple[int, str]:
        """Counted by the model's tokenizer."""
        return len(self.tokens([prompt])["input_ids"][0]), "counted by the model's tokenizer"

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
    def _generate(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[Reply]:
        from transformers import LogitsProcessorList

        start = time.perf_counter()
        inputs = self.tokens(prompts, padding=True, return_tensors="pt").to(self.device)
        writer = self.lines.writer(rows=len(prompts))
        try:
            self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                logits_processor=LogitsProcessorList([writer]),
            )
        except (RuntimeError, ValueError, IndexError) as error:  # such as out of memory
            raise WeightsError(f"{self.name} cannot answer: {first_line(error)}") from error
        seconds = (time.perf_counter() - start) / len(prompts)
        return [
            Reply(prompt, writer.text(row), length, writer.tokens(row), seconds)
            for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True))
        ]

    def tokens(self, prompts: Sequence[Prompt], **options: Any) -> BatchEncoding:
        """The model's input for questions.

        Args:
            prompts: B questions.
            options: For the tokenizer, such as ``return_tensors``.

        Returns:
            ``input_ids`` and ``attention_mask``, ``(B, Z)`` if padded.
        """
        if self.tokenizer.chat_template:
            texts = [self._chat(prompt) for prompt in prompts]
            return self.tokenizer(texts, add_special_tokens=False, **options)
        texts = [f"{prompt.system}\n\n{prompt.user}" for prompt in prompts]
        if self.encoder_decoder:
            return self.tokenizer(texts, **options)
        # A causal tokenizer that adds an end token would end the answer before it begins
        beginning = self.tokenizer.bos_token or ""
        return self.tokenizer([beginning + text for text in texts], add_special_tokens=False, **options)

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
