"""`BatchRequest`: the prompts of a batch and everything that their answers depend on."""

from __future__ import annotations

import hashlib

from nbchat.core.events import Settings
from nbchat.core.messages import Attachment
from nbchat.core.values import Value, encode_json


class BatchRequest(Value, frozen=True, kw_only=True):
    """A batch, as a value that can be sent to another process. It contains no provider object."""

    prompts: tuple[tuple[int, str], ...]
    """Indexes among the caller's prompts, and texts."""
    keys: tuple[str, ...]
    """The key of each prompt's answer; see `answer_file.keys`."""
    attachments: tuple[Attachment, ...] = ()
    settings: Settings
    concurrency: int
    rpm: float | None = None
    attempts: int
    journal: str | None = None
    """Absolute path of the file chosen by the caller."""
    retry_interrupted: bool = False

    @property
    def id(self) -> str:
        """The name of the batch: equal for equal prompts with equal settings and the same journal.

        The rates are not part of it, so that no prompt is in progress twice at different rates.
        """
        parts = [self.journal or ""]
        parts += [f"{index} {key}" for (index, _), key in zip(self.prompts, self.keys, strict=True)]
        return f"b-{hashlib.sha256(encode_json(parts)).hexdigest()[:32]}"
