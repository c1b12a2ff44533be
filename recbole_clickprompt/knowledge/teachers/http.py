"""A server with OpenAI's chat interface as the teacher: vLLM, llama.cpp, Ollama, or a provider."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.knowledge.prompts import Prompt
from recbole_clickprompt.knowledge.teachers.base import ANSWER_TOKENS, Reply
from recbole_clickprompt.knowledge.teachers.schema import RESPONSE_FORMAT, text_of_json

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["HttpTeacher"]

_CHARACTERS_PER_TOKEN = 4  # of English, for estimates before the server is asked
_FAILURES = 5  # questions in a row without an answer after which the server counts as gone
_NO_KEY = "none"  # the client requires one, servers of one's own do not


class HttpTeacher:
    """Asks a server, several questions at a time.

    The client repeats a question after 429, 5xx, broken connections and time-outs, with growing pauses. The API
    key is read from an environment variable and is in no record, log or message.

    Args:
        url: Address of the interface, such as ``http://localhost:8000/v1``.
        model: Name of the model; None asks the server, which must have exactly one.
        key_variable: The environment variable with the API key; None sends none.
        concurrent: Questions on their way at a time.
        timeout: Seconds for one attempt.
        retries: Further attempts per question.
        answer_tokens: Longest answer.
        use_schema: Ask for JSON of a schema. Answers of a server that ignores it are read as lines.

    Raises:
        SettingError: The client is not installed, the address is invalid, or the variable is not set.
    """

    tries_again = True

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        key_variable: str | None = None,
        concurrent: int = 8,
        timeout: float = 60.0,
        retries: int = 4,
        answer_tokens: int = ANSWER_TOKENS,
        use_schema: bool = False,
    ) -> None:
        self.url, self.concurrent, self.timeout, self.retries = _checked_url(url), concurrent, timeout, retries
        self.answer_tokens, self.use_schema = answer_tokens, use_schema
        self._key, self._model = _key(key_variable), model
        self._client()  # fails early if it is not installed
        self.decoding = f"temperature 0, {answer_tokens} tokens" + (", schema" if use_schema else "")

    @property
    def name(self) -> str:
        """The model's; asks the server if none was named."""
        if self._model is None:
            self._model = asyncio.run(self._only_model())
        return f"http:{self._model}"

    def answer(
        self, prompts: Sequence[Prompt], stopped: Callable[[], bool]
    ) -> Generator[Sequence[Reply], None, None]:
        """Answers as they arrive. After ``stopped``, those on their way are still awaited.

        Raises:
            DataError: The server refuses the questions, or several in a row failed.
        """
        self._model = self.name.removeprefix("http:")
        waiting, failures = list(reversed(prompts)), 0
        loop = asyncio.new_event_loop()
        client, tasks = self._client(), set[asyncio.Task[Reply]]()
        try:
            while tasks or (waiting and not stopped()):
                done = loop.run_until_complete(self._round(client, tasks, waiting, stopped))
                refused = [error for task in done if (error := task.exception())]
                replies = [task.result() for task in done if not task.exception()]
                if replies:
                    yield replies
                if refused:
                    raise refused[0]
                for reply in replies:
                    failures = failures + 1 if reply.text is None else 0
                if failures >= _FAILURES:
                    raise DataError(
                        f"{self.url}: {failures} questions in a row failed, the last one with: "
                        f"{replies[-1].error}; what was answered is stored, and the same command continues"
                    )
        finally:
            loop.run_until_complete(_end(client, tasks))
            loop.close()

    def count_tokens(self, prompt: Prompt) -> tuple[int, str]:
        """Estimated from the number of characters, as the server's tokenizer is not known."""
        characters = len(prompt.system) + len(prompt.user)
        return characters // _CHARACTERS_PER_TOKEN, f"estimated, {_CHARACTERS_PER_TOKEN} characters per token"

    async def _round(
        self,
        client: AsyncOpenAI,
        tasks: set[asyncio.Task[Reply]],
        waiting: list[Prompt],
        stopped: Callable[[], bool],
    ) -> set[asyncio.Task[Reply]]:
        """Starts as many questions as may be on their way, and waits for the first answers."""
        while waiting and len(tasks) < self.concurrent and not stopped():
            tasks.add(asyncio.create_task(self._ask(client, waiting.pop())))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks -= done
        return done

    async def _ask(self, client: AsyncOpenAI, prompt: Prompt) -> Reply:
        import openai

        start = time.perf_counter()
        try:
            response = await self._complete(client, prompt)
            choice, usage = response.choices[0], response.usage
            text = choice.message.content or ""
            if not isinstance(text, str):
                raise TypeError("the answer is not a text")
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise DataError(f"{self.url} refuses questions: {self._message(error)}") from None
        except (openai.OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
            return Reply(prompt, None, error=f"no answer: {self._message(error)}")
        return Reply(
            prompt,
            text_of_json(text) if self.use_schema else text,
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            time.perf_counter() - start,
            f"cut off after {self.answer_tokens} tokens" if choice.finish_reason == "length" else None,
        )

    async def _complete(self, client: AsyncOpenAI, prompt: Prompt) -> Any:
        import openai

        messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
        options: dict[str, Any] = {"response_format": RESPONSE_FORMAT} if self.use_schema else {}
        create: Any = client.chat.completions.create
        options |= {"model": self._model, "temperature": 0, "max_tokens": self.answer_tokens}
        while True:
            try:
                return await create(messages=messages, **options)
            except openai.BadRequestError as error:  # servers that do not know an option
                if "max_completion_tokens" in str(error) and "max_tokens" in options:
                    options["max_completion_tokens"] = options.pop("max_tokens")
                elif not options.pop("response_format", None):
                    raise

    async def _only_model(self) -> str:
        import openai

        try:
            async with self._client() as client:
                names = [model.id async for model in client.models.list()]
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.url} does not list its models ({self._message(error)}); is it the address of an "
                "OpenAI-compatible server, such as http://localhost:8000/v1? Else name one with --teacher-model"
            ) from None
        if len(names) != 1:
            raise DataError(
                f"{self.url} has {len(names)} models; name one with --teacher-model: {', '.join(names[:8])}"
            )
        return names[0]

    def _client(self) -> AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            raise SettingError(
                "a teacher of http: needs the client openai; pip install 'recbole-clickprompt[teacher]'"
            ) from error
        client = openai.AsyncOpenAI(
            api_key=self._key or _NO_KEY, base_url=self.url, timeout=self.timeout, max_retries=self.retries
        )
        # The client takes these from the environment, and they are for its own provider
        client.organization = client.project = None
        return client

    def _message(self, error: Exception) -> str:
        """An error in one line, without the key, which some servers repeat."""
        message = " ".join(str(error).split())[:300] or type(error).__name__
        return message.replace(self._key, "***") if self._key else message


def _count(usage: object, name: str) -> int | None:
    """A number of tokens, if the server reports it; the client does not check what servers send."""
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


async def _end(client: AsyncOpenAI, tasks: set[asyncio.Task[Reply]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


def _checked_url(url: str) -> str:
    # Messages name the address, and the client cannot send a query
    for sign, part in (("@", "a user name or password"), ("?", "a query"), ("#", "a fragment")):
        if sign in url:
            raise SettingError(
                f"--teacher: the address has {part}; put the key into an environment variable and name it with "
                "--api-key-variable"
            )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SettingError(
            f"--teacher=http:URL needs an address such as http://localhost:8000/v1, got {url!r:.120}"
        )
    return url


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise SettingError(f"--api-key-variable: the environment variable {variable!r:.80} is not set or empty")
    return key
